"""pyinfra: how far a run is, in the last line of a terminal; a pipe has nothing of it.

pyinfra has such a line for what it counts itself, hosts that are through with a step. Where one of
them looks at all, or judges all, nothing of that moves, and what is told here goes before it.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import cycle

import gevent
from gevent.event import Event
from pyinfra import progress

from tasks.running import terminal

_SECONDS = 0.2
_CLEAR = "\x1b[K"
# The one that is shown comes last; pyinfra's, first.
_lines: list[Callable[[], str]] = []


def show() -> None:
    """Have pyinfra's own line drawn here, too: two at the same place would be none."""
    vars(progress)["_print_spinner"] = _draw_pyinfras


@contextmanager
def of(names: Collection[str], doing: str) -> Iterator[Callable[[str], None]]:
    """Show how many hosts are through with something, and who isn't; what is yielded tells it."""
    left = dict.fromkeys(names)

    def line() -> str:
        done, all_ = len(names) - len(left), len(names)
        return f"{doing}: {done} of {all_} hosts; waiting for {', '.join(left)}"

    with _drawn(line, place=len(_lines)):
        yield left.pop


def clear() -> None:
    """Take the line away, before something goes there by another way than standard error."""
    sys.stderr.flush()


def stop() -> None:
    """Take it away for good: a step that is cut short doesn't."""
    _lines.clear()
    clear()


def _draw_pyinfras(stop: Event, told: deque[str]) -> None:
    with _drawn(lambda: told[-1], place=0):
        stop.wait()


@contextmanager
def _drawn(line: Callable[[], str], place: int) -> Iterator[None]:
    is_off = os.environ.get("PYINFRA_PROGRESS") == "off"
    if is_off or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield
        return
    _lines.insert(place, line)
    gevent.spawn(_draw, line)
    try:
        yield
    finally:
        if line in _lines:
            _lines.remove(line)
            clear()


def _draw(line: Callable[[], str]) -> None:
    for turn in cycle("-\\|/"):
        if line not in _lines:
            return
        if line is _lines[-1]:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            text = terminal.line(f"    {turn} {line()}")
            # A full line would go on in the next one. A width of 0 is one that nobody knows.
            text = f"{text[: width - 2]}…" if 0 < width <= len(text) else text
            sys.stderr.write(f"{_CLEAR}{text}\r")
            sys.stderr.flush()
            # Kept back until something else is written there, for which it makes room.
            sys.stderr.write(_CLEAR)
        gevent.sleep(_SECONDS)
