"""The timed loop: warm-up, then one sample per call, with nothing between the two time stamps but the call.

The stamps themselves (one reading of the clock) are part of every sample and are not subtracted. Storage is reserved
before the loop and garbage collection waits until after it.
"""

from __future__ import annotations

import gc
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.clock import Clock
from edgecnn.bench.steady import Steady, detect_steady
from edgecnn.errors import MeasurementError

Run = Callable[[], object]

MAX_SAMPLES = 1 << 20
"""Sampling ends here even when its time is not over: ten thousand samples lie above the 99th percentile."""

SAMPLE_BYTES = 8
"""Memory that one sample takes."""

_GROWTH = 1.25
# The row that has been seen is looked at again when it is longer by a quarter: asking costs more than short runs take.

_SEEN = 4000
# Runs that are looked at: the last ones, for a row of millions tells no more.


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpSeen:
    """What a warm-up showed.

    Attributes:
        runs: how many there were.
        steady: where they became steady, among those that were looked at.
        median_ns: of the steady runs, of the last half where there are none.
    """

    runs: int
    steady: Steady
    median_ns: float


def time_once(run: Run, clock: Clock) -> int:
    """Return how long one call takes, in nanoseconds."""
    begin = clock.now_ns()
    run()
    return clock.now_ns() - begin


def warm_up(run: Run, clock: Clock, *, min_runs: int, min_seconds: float, max_seconds: float) -> WarmUpSeen:
    """Call until both `min_runs` and `min_seconds` are reached and the calls are steady, or until `max_seconds`.

    Args:
        run: what is called.
        clock: what times it.
        min_runs: calls at least.
        min_seconds: seconds at least.
        max_seconds: the call that crosses this is the last one.
    """
    begin = clock.now_ns()
    soft, hard = int(min_seconds * 1e9), int(max_seconds * 1e9)
    # As large at the end as at the beginning: a row that grew would be memory that the engine is blamed for.
    row = np.zeros(_SEEN, np.int64)
    runs = elapsed = 0
    steady = detect_steady(row[:0])
    look = float(min_runs)
    while elapsed < hard:
        if elapsed >= soft and runs >= look:
            steady = detect_steady(_latest(row, runs))
            if steady.start is not None:
                break
            look = max(_GROWTH * runs, runs + 1)
        before = elapsed
        run()
        elapsed = clock.now_ns() - begin
        row[runs % _SEEN] = elapsed - before
        runs += 1
    if steady.start is None:
        steady = detect_steady(_latest(row, runs))
    return WarmUpSeen(runs=runs, steady=steady, median_ns=_settled_median(_latest(row, runs), steady))


def settle(run: Run, clock: Clock, *, seconds: float) -> None:
    """Call once, and on until `seconds` are over; not at all for 0 seconds."""
    if seconds <= 0:
        return
    end = clock.now_ns() + int(seconds * 1e9)
    run()
    while clock.now_ns() < end:
        run()


def sample(
    run: Run, clock: Clock, *, min_runs: int, min_seconds: float, max_seconds: float, max_samples: int = MAX_SAMPLES
) -> NDArray[np.int64]:
    """Return the duration of each call, int64 [n], nanoseconds, in order; n is at least 1 and at most `max_samples`.

    Args:
        run: what is timed.
        clock: what times it.
        min_runs: samples at least, unless `max_seconds` comes first.
        min_seconds: from the first call to the end of the last, at least.
        max_seconds: the call that crosses this is the last one.
        max_samples: samples at most.

    Raises:
        MeasurementError: the clock ran backwards.
    """
    storage = _reserve(max_samples * SAMPLE_BYTES)
    soft_ns, hard_ns = int(min_seconds * 1e9), int(max_seconds * 1e9)
    with _collector_off():
        count = _fill(run, clock.now_ns, storage.cast("q"), min_runs=min_runs, soft_ns=soft_ns, hard_ns=hard_ns)
    samples = np.frombuffer(storage, np.int64, count)
    if samples.min() < 0:
        raise MeasurementError("the clock ran backwards while sampling", "measure again; check the clock source")
    return samples


def _latest(ring: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the last values, in order, of a ring that `count` values were written into one after the other."""
    return ring[:count] if count <= ring.size else np.roll(ring, -(count % ring.size))


def _settled_median(row: NDArray[np.int64], steady: Steady) -> float:
    start = row.size // 2 if steady.start is None else steady.start
    return float(np.median(row[start:])) if row.size else 0.0


def _fill(run: Run, now: Callable[[], int], durations: memoryview, *, min_runs: int, soft_ns: int, hard_ns: int) -> int:
    """Fill in durations; return how many."""
    start = now()
    soft, hard = start + soft_ns, start + hard_ns
    count = 0
    for count in range(1, len(durations) + 1):
        begin = now()
        run()
        end = now()
        durations[count - 1] = end - begin
        if end >= soft and (count >= min_runs or end >= hard):
            break
    return count


def _reserve(size: int) -> memoryview:
    """Return zeroed memory that the kernel provides page by page as it is first written.

    Small pages, so that a few samples do not count as megabytes of this process.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return memoryview(pages)


@contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
