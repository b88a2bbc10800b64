from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.plan import make_plan
from edgecnn.bench.rounds import LEAST_ROUNDS, MOST_ROUNDS, Pace, block_for, rounds_for, turn

MS = 1e6


@pytest.mark.parametrize(
    ("median_ms", "rounds"),
    [
        (0.1, 20),  # 2 s are 20 blocks of 100 ms
        (15.0, 13),  # ten runs of 15 ms are 150 ms, of which 13 go into 2 s
        (100.0, 10),  # 30 runs are 3 s, and three of them a block
        (5000.0, 10),
    ],
)
def test_rounds_follow_the_runs(median_ms: float, rounds: int) -> None:
    assert rounds_for([Pace(plan=make_plan(), median_ns=median_ms * MS)]) == rounds


def test_the_slowest_decides_for_all() -> None:
    paces = [Pace(plan=make_plan(), median_ns=ms * MS) for ms in (0.1, 15.0, 1.0)]
    assert rounds_for(paces) == 13


@given(st.floats(0.01, 3600), st.integers(1, 1000), st.floats(100, 1e11), st.integers(1, 60))
def test_blocks_together_are_what_was_planned(seconds: float, runs: int, median_ns: float, rounds: int) -> None:
    plan = make_plan(seconds=seconds, min_runs=runs)
    pace = Pace(plan=plan, median_ns=median_ns)
    assert LEAST_ROUNDS <= rounds_for([pace]) <= MOST_ROUNDS
    block = block_for(pace, rounds)
    assert block.min_seconds * rounds == pytest.approx(seconds)
    assert block.min_runs * rounds >= runs
    assert block.max_seconds >= block.min_seconds
    assert 0 <= block.settle_seconds <= 0.01


def test_a_run_that_fills_its_block_does_not_settle_before_it() -> None:
    assert block_for(Pace(plan=make_plan(), median_ns=90 * MS), 10).settle_seconds == 0
    assert block_for(Pace(plan=make_plan(), median_ns=1 * MS), 10).settle_seconds > 0


@given(st.integers(1, 9), st.integers(1, 5))
def test_everyone_is_equally_often_at_every_place(count: int, cycles: int) -> None:
    orders = [turn(number, count) for number in range(2 * cycles * count)]
    for order in orders:
        assert sorted(order) == list(range(count))
    for place in range(count):
        assert set(Counter(order[place] for order in orders).values()) == {2 * cycles}


@given(st.integers(1, 9), st.integers(0, 9))
def test_an_even_drift_cancels_within_two_rounds(count: int, pair: int) -> None:
    row = (*turn(2 * pair, count), *turn(2 * pair + 1, count))
    moments = {subject: [at for at, one in enumerate(row) if one == subject] for subject in range(count)}
    assert {sum(each) for each in moments.values()} == {2 * count - 1}


def test_three_subjects_follow_each_other_equally_often() -> None:
    orders = [turn(number, 3) for number in range(6)]
    assert len(set(orders)) == 6
    followed = Counter(pair for order in orders for pair in pairwise(order))
    assert set(followed.values()) == {2}
