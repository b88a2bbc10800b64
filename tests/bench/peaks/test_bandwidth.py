"""Sizes of working sets, and what is counted as moved."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from edgecnn.bench.peaks.bandwidth import LARGEST_BYTES, SMALLEST_BYTES, Mover, working_sizes


def test_sizes_reach_well_beyond_the_last_cache() -> None:
    sizes = working_sizes(32 << 20, 24 << 30)
    assert sizes[0] == SMALLEST_BYTES
    assert sizes[-1] == 4 * (32 << 20)
    assert list(sizes) == sorted(set(sizes))


@pytest.mark.parametrize(("cache", "memory"), [(None, None), (None, 512 << 20), (1 << 30, 1 << 30), (1 << 30, None)])
def test_sizes_leave_room_in_a_small_memory(cache: int | None, memory: int | None) -> None:
    sizes = working_sizes(cache, memory)
    assert sizes[-1] <= min(LARGEST_BYTES, (memory or 1 << 40) // 8)
    assert sizes[-1] >= 64 << 20 or memory is not None


@pytest.mark.parametrize("threads", [1, 2])
def test_a_copy_and_an_add_move_five_arrays(threads: int) -> None:
    mover = Mover(3 << 20, threads)
    assert mover.moved_bytes == pytest.approx(5 << 20, rel=1e-4)
    with ThreadPoolExecutor(threads) as pool:
        rate = mover.gbps(pool, seconds=0.004)
    assert 0.05 < rate < 10_000
