"""Waiting for what a machine does in its own time."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 0.2

Answer = TypeVar("Answer")


def ask_until(
    is_enough: Callable[[Answer], bool], ask: Callable[[], Answer], seconds: float
) -> Answer:
    """Ask again and again until the answer is enough, for so many seconds at most; the last one."""
    deadline = time.monotonic() + seconds
    while not is_enough(answer := ask()) and time.monotonic() <= deadline:
        time.sleep(POLL_SECONDS)
    return answer
