"""pyinfra: what reaches the terminal, where words of an inventory or of a host are words only."""

import logging
import os
import re
import sys

# What pyinfra has click.style() write: colours that can be read, bold, and the end of them.
_COLOURS = re.compile(r"(\x1b\[(?:0|1|3[1-7])m)")


def line(text: str) -> str:
    """One line: what is no printable character is shown as Python writes it, as `\\x1b`.

    Letters of all scripts are printable; controls of the terminal aren't, nor is what turns the
    direction of writing around, nor the end of a line, after which another could be forged.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def lines(text: str) -> str:
    """The same of each line of a text."""
    return "\n".join(map(line, text.split("\n")))


def coloured(text: str) -> str:
    """The same of a text that was coloured for the terminal."""
    parts = _COLOURS.split(text)
    return "".join(each if index % 2 else lines(each) for index, each in enumerate(parts))


def plain_where_dumb() -> None:
    """Have a terminal that knows no codes be written to as a pipe is."""
    if os.environ.get("TERM") == "dumb":
        for stream in (sys.stdout, sys.stderr):
            vars(stream)["isatty"] = lambda: False


def guard(logger: logging.Logger) -> None:
    """Have pyinfra's own lines printed so, too: in one may be what a host calls its version."""
    logger.addFilter(_make_harmless)


def _make_harmless(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, str):
        record.msg, record.args = coloured(record.getMessage()), None
    return True
