"""Fronts: nothing on it is beaten, everything off it is."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edgecnn.tune.pareto import coarse, dominates, front, layers

POINTS = st.lists(
    st.tuples(*[st.integers(0, 5).map(float) | st.just(math.inf)] * 3),
    min_size=1,
    max_size=25,
)


def test_a_front_by_hand() -> None:
    points = [(1.0, 9.0), (2.0, 3.0), (2.0, 4.0), (5.0, 1.0), (5.0, 5.0), (2.0, 3.0)]
    assert front(points) == (0, 1, 3)
    assert layers(points) == (0, 0, 1, 0, 2, 0)


@given(POINTS)
def test_nothing_on_the_front_is_beaten_and_everything_off_it_is(points: list[tuple[float, ...]]) -> None:
    on = front(points)
    assert on
    assert len({points[place] for place in on}) == len(on)
    for place, point in enumerate(points):
        beaten = any(dominates(other, point) for other in points)
        assert beaten == (not any(points[one] == point for one in on))
        assert place not in on or not beaten


@given(POINTS)
def test_layers_peel_the_front_off(points: list[tuple[float, ...]]) -> None:
    depth = layers(points)
    for place, point in enumerate(points):
        above = [depth[at] for at, other in enumerate(points) if dominates(other, point)]
        assert depth[place] == (max(above) + 1 if above else 0)


@given(st.tuples(st.integers(), st.integers()), st.tuples(st.integers(), st.integers()))
def test_two_points_do_not_beat_each_other(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert not (dominates(one, other) and dominates(other, one))
    assert not dominates(one, one)


@given(st.floats(1e-9, 1e12), st.floats(0.001, 0.5))
def test_the_grid_moves_a_cost_by_half_a_step_at_most_and_keeps_order(value: float, step: float) -> None:
    once = coarse(value, step)
    assert abs(math.log(once / value)) <= math.log1p(step) / 2 + 1e-9
    assert math.isclose(coarse(once, step), once, rel_tol=1e-9)
    assert coarse(value * 1.01, step) >= once * (1 - 1e-9)


def test_what_the_grid_leaves_alone() -> None:
    assert (coarse(0.0, 0.03), coarse(math.inf, 0.03), coarse(7.0, 0)) == (0.0, math.inf, 7.0)
