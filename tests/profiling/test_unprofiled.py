"""Times while profiling and without."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.profiling.timers import typical
from edgecnn.profiling.unprofiled import LEAST_SHARE, unprofiled

times = st.lists(st.floats(100, 1e7), min_size=1, max_size=50)


@given(times, st.floats(1, 1e9), st.booleans())
def test_the_sum_is_the_run_and_the_order_stays(measured: list[float], total: float, constant: bool) -> None:
    alone = unprofiled(measured, total, constant=constant)
    assert sum(alone) == pytest.approx(total)
    assert min(alone) > 0
    ordered = sorted(zip(measured, alone, strict=True))
    assert all(low[1] <= high[1] * (1 + 1e-9) for low, high in pairwise(ordered))


def test_a_cost_that_every_node_has_is_taken_off() -> None:
    true = [1000.0, 3000.0, 16000.0]
    assert unprofiled([one + 2000 for one in true], 20000, constant=True) == pytest.approx(true)


def test_no_more_is_taken_off_than_the_cheapest_node_has() -> None:
    alone = unprofiled([1000, 9000], 2000, constant=True)
    left = [1000 * LEAST_SHARE, 9000 - 1000 * (1 - LEAST_SHARE)]
    assert alone == pytest.approx([one * 2000 / sum(left) for one in left])


def test_time_between_nodes_is_shared_out() -> None:
    assert unprofiled([1000, 3000], 8000, constant=True) == [2000, 6000]


def test_the_middle_half_is_not_moved_by_interruptions() -> None:
    assert typical([1, 2, 2, 3, 900, 2, 2, 2]) == 2
    assert typical([1.0, 2.0]) == 1.5
