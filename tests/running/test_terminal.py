"""What reaches the terminal."""

import logging
import re

import pytest

from tasks.running import terminal
from tests.running.conftest import Start

CODES = "\x1b[2J\x1b]0;title\x07\u202everified"
SHOWN = "\\x1b[2J\\x1b]0;title\\x07\\u202everified"


@pytest.mark.parametrize("what", [{"breaks": "change"}, {"fails_check": 0}])
def test_what_a_host_says_is_no_code_for_the_terminal(run: Start, what: dict[str, object]) -> None:
    done = run("deploy.py", "-y", "-vv", client={"says": CODES, **what})
    assert done.status == 1
    assert SHOWN in done.output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.output)
    assert all(each.isprintable() or each == "\n" for each in plain)


def test_what_a_host_is_called_is_none_either(run: Start) -> None:
    done = run("deploy.py", "--dry", others={"@fake/x\x1b[2J\n[web1] verified": {"tunnel": []}})
    assert (done.status, done.execs) == (1, [])
    assert "the host name '@fake/x\\x1b[2J\\n[web1] verified' holds what can't be" in done.output


def test_lines_of_pyinfras_own_are_harmless_and_keep_their_colours() -> None:
    logger = logging.Logger("some")
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    terminal.guard(logger)
    logger.info("\x1b[31m%s\x1b[0m", "SSH-\x1b[8m100%")
    assert said == ["\x1b[31mSSH-\\x1b[8m100%\x1b[0m"]
