"""Memory bandwidth by size of what is worked on: copy and add over arrays, as STREAM does it.

Source: McCalpin 1995, "Memory Bandwidth and Machine Balance in Current High Performance Computers" (IEEE TCCA), whose
kernels Copy (a = b, 2 values moved an element) and Add (a = b + c, 3 values) these are. Counted are the bytes that the
program asks for; that a cache fetches a line before it is overwritten is not counted, as there. Arrays are float32, what
networks move. Each thread has arrays of its own, and numpy lets go of the interpreter while it works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SMALLEST_BYTES = 256 << 10
"""Below this, calling numpy takes a tenth of the time and more."""

LARGEST_BYTES = 256 << 20
"""More than any cache of a machine that edgecnn is for, and a quarter of the memory of the smallest."""

_ROUND_SECONDS = 0.02
_MOST_CALLS = 4000

Floats = NDArray[np.float32]


def working_sizes(last_cache_bytes: int | None, memory_bytes: int | None) -> tuple[int, ...]:
    """Return sizes of the working set, ascending, a factor of two apart, the last one well beyond every cache.

    Args:
        last_cache_bytes: of the largest cache, None where unknown.
        memory_bytes: that may be used, None where unknown.
    """
    # STREAM asks for arrays of four times the last cache.
    wanted = max(4 * (last_cache_bytes or 0), 64 << 20)
    most = min(LARGEST_BYTES, wanted, *([memory_bytes // 8] if memory_bytes else []))
    sizes = [SMALLEST_BYTES]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return tuple(dict.fromkeys((*sizes, max(most, SMALLEST_BYTES))))


@dataclass(slots=True)
class Mover:
    """Arrays of one size for a number of threads, and the calls that move them.

    Attributes:
        size_bytes: of the working set, all threads together.
        threads: that work at once.
    """

    size_bytes: int
    threads: int
    _parts: list[tuple[Floats, Floats, Floats]] = field(init=False)

    def __post_init__(self) -> None:
        count = max(1, self.size_bytes // self.threads // 3 // 4)
        self._parts = [_arrays(count) for _ in range(self.threads)]

    @property
    def moved_bytes(self) -> int:
        """Bytes of one round of calls: of a copy and an add, all threads together."""
        return sum(5 * part[0].nbytes for part in self._parts)

    def gbps(self, pool: ThreadPoolExecutor, *, seconds: float = _ROUND_SECONDS) -> float:
        """Return GB/s (10^9 bytes) of the fastest row of calls within about these seconds.

        Args:
            pool: of as many threads.
            seconds: for the whole.
        """
        once_ns = min(self._row(pool, 1) for _ in range(2))
        calls = int(max(1, min(_MOST_CALLS, seconds / 4 * 1e9 / max(once_ns, 1))))
        best_ns = min(self._row(pool, calls) for _ in range(4))
        return calls * self.moved_bytes / best_ns

    def _row(self, pool: ThreadPoolExecutor, calls: int) -> float:
        """Return the nanoseconds from the common start to the end of the last thread."""
        barrier = threading.Barrier(self.threads)
        jobs = [pool.submit(_move, part, calls, barrier.wait) for part in self._parts]
        spans = [job.result() for job in jobs]
        return max(end for _, end in spans) - min(begin for begin, _ in spans)


def _arrays(count: int) -> tuple[Floats, Floats, Floats]:
    """Return arrays whose pages are there: filled, not only reserved."""
    return np.full(count, 1, np.float32), np.full(count, 1, np.float32), np.full(count, 1, np.float32)


def _move(part: tuple[Floats, Floats, Floats], calls: int, wait: Callable[[], int]) -> tuple[int, int]:
    first, second, third = part
    copy, add = np.copyto, np.add
    wait()
    begin = time.perf_counter_ns()
    for _ in range(calls):
        copy(first, second)
        add(second, first, third)
    return begin, time.perf_counter_ns()
