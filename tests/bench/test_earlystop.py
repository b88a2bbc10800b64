from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.bench.earlystop import allowed_overlatency, estimate_tail, holds, queries_needed


@pytest.mark.parametrize(("over", "percent", "needed"), [(1, 90, 64), (0, 99, 459), (1, 99, 662), (0, 90, 44)])
def test_the_numbers_of_queries_that_the_rules_and_loadgen_state(over: int, percent: float, needed: int) -> None:
    """64 for single-stream and 662 for multi-stream; with none above it p^n < 0.01 decides: 44 and 459."""
    assert queries_needed(over, percent) == needed
    assert holds(needed, over, percent)
    assert not holds(needed - 1, over, percent)


@pytest.mark.slow
def test_by_the_sum_written_out() -> None:
    def at_most(over: int, queries: int) -> float:
        return sum(math.comb(queries, k) * 0.1**k * 0.9 ** (queries - k) for k in range(over + 1))

    for queries in range(1, 200):
        allowed = sum(at_most(over, queries) < 0.01 for over in range(queries + 1)) - 1
        assert allowed_overlatency(queries, 90) == max(0, allowed)


def test_the_estimate_is_a_sample_above_the_percentile() -> None:
    """Of 64 queries one may exceed it, so the slowest is the estimate; of 1000, 77 may."""
    least = estimate_tail(range(1, 65), 90)
    assert (least.value_ns, least.discarded, least.queries, least.needed) == (64.0, 0, 64, 64)
    many = estimate_tail(range(1, 1001), 90)
    assert (many.value_ns, many.discarded) == (
        1001.0 - allowed_overlatency(1000, 90),
        allowed_overlatency(1000, 90) - 1,
    )
    assert 900 < float(many.value_ns or 0) < 940


@pytest.mark.parametrize("count", [0, 1, 63])
def test_too_few_queries_have_no_estimate(count: int) -> None:
    found = estimate_tail(range(count), 90)
    assert (found.value_ns, found.discarded, found.queries, found.needed) == (None, 0, count, 64)


def test_the_true_percentile_is_below_the_estimate_in_99_of_100_cases() -> None:
    truth = -math.log(0.1)
    found = [estimate_tail(np.random.default_rng(seed).standard_exponential(500), 90).value_ns for seed in range(1000)]
    assert np.mean([value is not None and value >= truth for value in found]) >= 0.98


@given(st.integers(64, 5000), st.integers(0, 100))
@settings(max_examples=50)
def test_more_queries_never_allow_fewer_above(queries: int, more: int) -> None:
    assert 1 <= allowed_overlatency(queries, 90) <= allowed_overlatency(queries + more, 90) <= (queries + more) / 10
