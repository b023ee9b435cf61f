"""Waiting for what a machine does in its own time."""

import time
from collections.abc import Callable

POLL_SECONDS = 0.2


def comes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again, for so many seconds at most; whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
