"""Clocks: the one that measures, what it can tell apart, and what reading it costs."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Protocol

_READS = 2000


class Clock(Protocol):
    """Something that tells nanoseconds since an arbitrary start and never runs backwards."""

    def now_ns(self) -> int:
        """Return the nanoseconds since an arbitrary start."""
        ...


class MonotonicClock:
    """`time.perf_counter_ns` itself: no Python frame lies between a run and its time stamp."""

    name = "perf_counter_ns"
    now_ns = staticmethod(time.perf_counter_ns)


def resolution_ns(clock: Clock, *, reads: int = _READS) -> int | None:
    """Return the smallest step that was observed between readings, in nanoseconds; None if the clock stood still.

    A fine clock never shows less than the time that reading it takes; for a measurement that is its resolution too.
    """
    stamps = _stamps(clock, reads)
    steps = [later - earlier for earlier, later in pairwise(stamps) if later > earlier]
    return min(steps, default=None)


def overhead_ns(clock: Clock, *, reads: int = _READS) -> float:
    """Return what one reading costs, in nanoseconds: the mean of the fastest of five rows of readings."""
    rows = [_stamps(clock, reads) for _ in range(5)]
    return min((row[-1] - row[0]) / (len(row) - 1) for row in rows)


def _stamps(clock: Clock, reads: int) -> list[int]:
    now = clock.now_ns
    return [now() for _ in range(max(2, reads))]
