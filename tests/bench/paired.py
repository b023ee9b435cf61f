"""A server's throughput with a table and without, in turns, in one connection."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Protocol

BAR = 0.97
CONFIDENCE = 0.95


class Server(Protocol):
    """A server whose tunnel one connection fills, and which has a table."""

    def switch(self, *, is_on: bool) -> None:
        """Have the table filter, or lie there as if it were none."""

    def passed(self) -> tuple[float, int]:
        """The server's own time in seconds, and the bytes that have gone through its tunnel."""


@dataclass(frozen=True)
class Outcome:
    """A median of paired ratios, with the interval that holds the true one."""

    median: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low >= BAR:
            return "met"
        return "MISSED" if self.high < BAR else "UNDECIDED"

    def __str__(self) -> str:
        return f"{self.median:.3f} ({CONFIDENCE:.0%}: {self.low:.3f} to {self.high:.3f})"


def outcome(ratios: list[float]) -> Outcome:
    """By order statistics: as many lie below the true median as heads in so many tosses."""
    ordered, count = sorted(ratios), len(ratios)
    left, outside = 0, 0.0
    while outside + 2 * comb(count, left) / 2**count < 1 - CONFIDENCE:
        outside += 2 * comb(count, left) / 2**count
        left += 1
    edge = max(left - 1, 0)
    return Outcome(statistics.median(ordered), ordered[edge], ordered[-1 - edge])


def compare(
    server: Server,
    pairs: int,
    settled: float,
    measured: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[float, float]]:
    """With the table to without, pair by pair, each in the other order: throughput, and clock.

    The second is of what `clock` takes for each byte, turned over. After a change of the table,
    `settled` seconds are left out, and `measured` are measured.
    """

    def measure(*, is_on: bool) -> tuple[float, float]:
        server.switch(is_on=is_on)
        time.sleep(settled)
        (start, before), ticked = server.passed(), clock()
        time.sleep(measured)
        (end, after), ended = server.passed(), clock()
        assert after > before, "nothing passes through the tunnel"
        return (after - before) / (end - start), (after - before) / max(ended - ticked, 1e-9)

    for number in range(pairs):
        first = number % 2 == 0
        told = {is_on: measure(is_on=is_on) for is_on in (first, not first)}
        (on, cost_on), (off, cost_off) = told[True], told[False]
        yield on / off, cost_on / cost_off
