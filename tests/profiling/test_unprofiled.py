"""Times while profiling and without."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.profiling.timers import typical
from edgecnn.profiling.unprofiled import LEAST_SHARE, unprofiled

times = st.lists(st.floats(100, 1e7), min_size=1, max_size=50)


@given(times, st.floats(1, 1e9), st.floats(0, 1e5))
def test_the_sum_is_the_run_and_the_order_stays(measured: list[float], total: float, cost: float) -> None:
    alone = unprofiled(measured, total, cost_ns=cost)
    assert sum(alone) == pytest.approx(total)
    assert min(alone) > 0
    ordered = sorted(zip(measured, alone, strict=True))
    assert all(low[1] <= high[1] * (1 + 1e-9) for low, high in pairwise(ordered))


def test_a_cost_that_every_node_has_is_taken_off() -> None:
    true = [1000.0, 3000.0, 16000.0]
    assert unprofiled([one + 2000 for one in true], 20000, cost_ns=2000) == pytest.approx(true)


def test_something_is_left_of_a_node_that_took_no_longer_than_profiling_it() -> None:
    left = [1000 * LEAST_SHARE, 9000 - 1500]
    alone = unprofiled([1000, 9000], 2000, cost_ns=1500)
    assert alone == pytest.approx([one * 2000 / sum(left) for one in left])


def test_a_slow_moment_of_the_profiled_runs_is_not_taken_for_their_cost() -> None:
    # All nodes seemed half as long again: what is short stays as short beside what is long.
    assert unprofiled([3000, 30000], 22000, cost_ns=0) == pytest.approx([2000, 20000])


def test_time_between_nodes_is_shared_out() -> None:
    assert unprofiled([1000, 3000], 8000, cost_ns=0) == [2000, 6000]


def test_the_middle_half_is_not_moved_by_interruptions() -> None:
    assert typical([1, 2, 2, 3, 900, 2, 2, 2]) == 2
    assert typical([1.0, 2.0]) == 1.5
