"""The choice: limits before wishes, and an explanation where nothing fits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.testing.tuning import made_figures, made_point
from edgecnn.tune.budget import AXES, Budget, parse_budget
from edgecnn.tune.choice import PREFERENCES, STEP, choose, excess, pareto_front, passed_over, ranking, violation
from edgecnn.tune.explain import explain

LATENCY, MEMORY, _, DROP, _, THROUGHPUT = AXES
VALUES = st.floats(0.1, 1e9)


@given(VALUES, VALUES)
def test_a_limit_is_missed_or_held(limit: float, value: float) -> None:
    over = excess(LATENCY, limit, value)
    assert (over == 0) == (value <= limit)
    assert excess(THROUGHPUT, limit, value) == pytest.approx(excess(LATENCY, value, limit))
    assert over == 0 or math.exp(over) == pytest.approx(value / limit)


def test_excess_of_what_is_not_known_is_infinite() -> None:
    assert excess(MEMORY, 1e9, None) == math.inf
    assert excess(DROP, 0.5, 0.5) == 0
    assert excess(DROP, 0.5, 1.5) == pytest.approx(1.0)
    assert excess(DROP, 0.0, -0.3) == 0


def test_the_end_of_the_interval_counts_where_it_counts() -> None:
    figures = made_figures(0.99e6, latency_ci95_ns=(0.9e6, 1.1e6))
    budget = parse_budget("latency=1ms")
    assert violation(budget, figures) == pytest.approx(math.log(1.1))
    assert violation(budget, figures, slack=0.1) == 0
    assert violation(parse_budget("throughput=1000"), figures) > 0
    assert violation(parse_budget("throughput=1000"), replace(figures, latency_ci95_ns=None)) == 0


def test_slack_is_for_what_is_noisy_alone() -> None:
    figures = made_figures(1.05e6, drop_points=0.55)
    assert violation(parse_budget("latency=1ms,drop=0.5"), figures, slack=0.1) == pytest.approx(0.05)


def test_the_preferred_of_those_that_fit_is_chosen() -> None:
    fast = made_point(1e6, name="fast", drop_points=2.0, accuracy=0.88)
    exact = made_point(3e6, name="exact")
    small = made_point(2e6, name="small", size_bytes=10, memory_bytes=200e6)
    points = [fast, exact, small]
    assert choose(points, Budget(), prefer="latency") is fast
    assert choose(points, parse_budget("drop=0.5"), prefer="latency") is small
    assert choose(points, parse_budget("drop=0.5,memory=150MB"), prefer="latency") is exact
    assert choose(points, Budget(), prefer="size") is small
    assert choose(points, Budget(), prefer="accuracy") is small
    assert choose(points, parse_budget("latency=0.5ms"), prefer="latency") is None


def test_what_is_equally_fast_within_noise_is_chosen_by_accuracy() -> None:
    fast, exact = made_point(1.000e6, name="fast", accuracy=0.8), made_point(1.005e6, name="exact", accuracy=0.9)
    assert choose([fast, exact], Budget(), prefer="latency") is exact


def test_an_invalid_measurement_is_the_last_resort() -> None:
    invalid, slow = made_point(1e6, verdict="invalid"), made_point(5e6, verdict="suspect")
    assert choose([invalid, slow], Budget(), prefer="latency") is slow
    assert choose([invalid], Budget(), prefer="latency") is invalid


def test_the_front_has_what_no_other_beats() -> None:
    fast = made_point(1e6, name="fast", accuracy=0.8)
    exact = made_point(2e6, name="exact", accuracy=0.9)
    worse = made_point(2.5e6, name="worse", accuracy=0.85)
    screened = made_point(0.999e6, name="screened", accuracy=0.8, confirmed=False)
    assert pareto_front([worse, exact, screened, fast]) == (fast, exact)
    large = made_point(9e6, name="large", accuracy=0.8, macs=10**9)
    assert pareto_front([fast, large]) == (fast,)
    assert pareto_front([fast, large], macs=True) == (fast, large)


def test_what_was_screened_beats_nothing_that_was_confirmed() -> None:
    sure = made_point(2e6, name="sure")
    lucky = made_point(1e6, name="lucky", confirmed=False)
    worse = made_point(3e6, name="worse", confirmed=False)
    assert pareto_front([worse, lucky, sure]) == (lucky, sure)
    assert explain([lucky, sure], parse_budget("latency=0.1ms")).closest is sure


def test_the_ranking_puts_limits_first_and_fronts_second() -> None:
    missing = made_figures(0.5e6, drop_points=1.0)
    fast, slow = made_figures(1e6), made_figures(2e6)
    frugal = made_figures(3e6, memory_bytes=50e6)
    budget = parse_budget("drop=0.5,latency=10ms")
    assert ranking([slow, missing, frugal, fast], budget, prefer="latency") == (3, 2, 0, 1)


@given(st.lists(st.tuples(st.floats(1e3, 1e9), st.floats(1e6, 1e9)), min_size=1, max_size=12))
def test_the_chosen_one_is_the_fastest_within_noise(rows: list[tuple[float, float]]) -> None:
    points = [made_point(latency, memory_bytes=memory) for latency, memory in rows]
    chosen = choose(points, Budget(), prefer="latency")
    assert chosen is not None
    least = min(latency for latency, _ in rows)
    assert chosen.figures.latency_ns <= least * (1 + STEP)
    first = ranking([point.figures for point in points], Budget(), prefer="latency")[0]
    assert points[first].figures.latency_ns <= least * (1 + STEP)


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_every_preference_orders_figures_that_lack_something(prefer: str) -> None:
    bare = made_point(1e6, memory_bytes=None, accuracy=None, drop_points=None, macs=None)
    assert choose([bare], Budget(), prefer=prefer) is bare


def test_what_was_better_but_invalid_is_named() -> None:
    fast = made_point(1e6, name="fast", verdict="invalid")
    slow = made_point(2e6, name="slow", verdict="suspect")
    for points in ([fast, slow], [slow, fast]):
        assert choose(points, Budget(), prefer="latency") is slow
        assert passed_over(points, Budget(), slow, prefer="latency") is fast
        assert passed_over(points, parse_budget("latency=0.9ms"), slow, prefer="latency") is None
    screened = replace(fast, confirmed=False)
    assert passed_over([screened, slow], Budget(), slow, prefer="latency") is None
    assert passed_over([slow, made_point(3e6, verdict="invalid")], Budget(), slow, prefer="latency") is None
