"""What a call holds at a time, in processes of their own: the C library is told to give everything back."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.allocations import PAGE_BYTES, mapped_bytes

START = "import numpy as np; from edgecnn.bench.allocations import *; keep_nothing_free() or print('none'); "


def _told(code: str) -> list[int]:
    out = subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, check=True
    ).stdout.split()
    if "none" in out or "None" in out:
        pytest.skip("no malloc of the GNU C library")
    return [int(word) for word in out]


@pytest.mark.slow
def test_a_few_pages_are_told_to_the_page_after_a_much_greater_peak() -> None:
    sizes = (4096, 5 * 4096, 64 * 4096, 1 << 20)
    calls = "; ".join(f"print(peak_allocated(lambda: np.empty({size}, np.uint8)))" for size in sizes)
    told = _told(f"block = bytearray(1 << 25); del block; {calls}")
    assert told == [pytest.approx(mapped_bytes(size), abs=PAGE_BYTES) for size in sizes]


@pytest.mark.slow
def test_blocks_one_after_the_other_do_not_add_up_and_those_at_a_time_do() -> None:
    one, two = _told(
        "print(peak_allocated(lambda: [bytes(1 << 20) and None, bytes(1 << 20) and None]));"
        "print(peak_allocated(lambda: [bytes(1 << 20), bytes(1 << 20)]))"
    )
    assert one == pytest.approx(1 << 20, abs=2 * PAGE_BYTES)
    assert two == pytest.approx(2 << 20, abs=3 * PAGE_BYTES)


@pytest.mark.slow
def test_what_would_fit_into_holes_of_the_heap_is_seen() -> None:
    """Blocks below a page lie in the heap; with every second one freed, and many side by side, there is room in it."""
    (told,) = _told(
        "kept = [bytes(4000) for _ in range(4000)]; end = [bytes(4000) for _ in range(8)]; del kept;"
        "print(peak_allocated(lambda: bytes(1 << 20)))"
    )
    assert told == pytest.approx(1 << 20, abs=2 * PAGE_BYTES)


@given(st.integers(0, 1 << 30))
def test_an_allocation_takes_whole_pages_and_at_most_one_more(size: int) -> None:
    taken = mapped_bytes(size)
    assert size <= taken <= size + 2 * PAGE_BYTES
    assert taken % PAGE_BYTES == 0 or taken == size < PAGE_BYTES
