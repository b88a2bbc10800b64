"""The timed loop: warm-up, then one sample per call, with nothing between the two time stamps but the call.

The stamps themselves (one reading of the clock) are part of every sample and are not subtracted. Storage is reserved
before the loop and garbage collection waits until after it.
"""

from __future__ import annotations

import gc
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.clock import Clock
from edgecnn.errors import MeasurementError

Run = Callable[[], object]

MAX_SAMPLES = 1 << 20
"""Sampling ends here even when its time is not over: ten thousand samples lie above the 99th percentile."""

SAMPLE_BYTES = 8
"""Memory that one sample takes."""


def time_once(run: Run, clock: Clock) -> int:
    """Return how long one call takes, in nanoseconds."""
    begin = clock.now_ns()
    run()
    return clock.now_ns() - begin


def warm_up(run: Run, clock: Clock, *, min_runs: int, min_seconds: float, max_seconds: float) -> int:
    """Return how many calls it took to reach both `min_runs` and `min_seconds`, or else `max_seconds`."""
    begin = clock.now_ns()
    soft, hard = int(min_seconds * 1e9), int(max_seconds * 1e9)
    elapsed = runs = 0
    while elapsed < hard and (elapsed < soft or runs < min_runs):
        run()
        runs += 1
        elapsed = clock.now_ns() - begin
    return runs


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
