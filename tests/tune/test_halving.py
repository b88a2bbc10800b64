"""Successive halving: the best of simulated noisy arms is found, the budget is kept, every search ends."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput
from edgecnn.tune.halving import Halved, rungs_for, successive_halving


def smallest_first(found: Sequence[tuple[float, float]]) -> list[int]:
    return sorted(range(len(found)), key=lambda at: found[at][1])


def search(costs: Sequence[float], *, noise: float, seed: int, budget: float = 40.0, keep: int = 1) -> Halved[float]:
    """Costs are seen with noise that falls with the root of the resource, as a mean over runs does."""
    generator = random.Random(seed)

    def measure(arms: Sequence[float], resource: float) -> list[float]:
        return [cost * math.exp(noise * generator.gauss(0, 1) / math.sqrt(resource)) for cost in arms]

    return successive_halving(costs, measure, order=smallest_first, budget=budget, keep=keep, seed=seed)


def test_the_best_of_noisy_arms_is_found() -> None:
    found = 0
    for seed in range(100):
        costs = [1.0 + 0.15 * place for place in range(24)]
        random.Random(seed).shuffle(costs)
        result = search(costs, noise=0.05, seed=seed)
        found += costs[result.kept[0]] == 1.0
    assert found >= 95


def test_noise_as_large_as_the_differences_loses_it_sometimes() -> None:
    # The simulation above is not too easy: with ten times the noise the best is often lost.
    costs = [1.0 + 0.15 * place for place in range(24)]
    assert sum(search(costs, noise=0.5, seed=seed).kept == (0,) for seed in range(50)) < 40


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40, unique=True), st.integers(1, 6), st.integers(0, 5))
def test_without_noise_the_best_are_kept_in_order(costs: list[float], keep: int, seed: int) -> None:
    result = search(costs, noise=0.0, seed=seed, keep=keep)
    assert [costs[place] for place in result.kept] == sorted(costs)[:keep]
    assert len(result.rungs) == max(1, rungs_for(len(costs), keep=keep))
    assert all(figure is not None for figure in result.figures)


@given(st.integers(1, 60), st.integers(1, 5), st.floats(1.01, 8.0), st.floats(1.0, 100.0))
def test_the_budget_is_kept_and_every_search_ends(arms: int, keep: int, eta: float, budget: float) -> None:
    result = successive_halving(
        list(range(arms)),
        lambda some, resource: [float(one) for one in some],
        order=smallest_first,
        budget=budget,
        keep=keep,
        eta=eta,
    )
    assert sum(len(rung.arms) * rung.resource for rung in result.rungs) <= budget * (1 + 1e-9)
    assert len(result.kept) == min(arms, keep)
    for earlier, later in zip(result.rungs, result.rungs[1:], strict=False):
        assert set(later.arms) == set(earlier.kept)
        assert later.resource > earlier.resource


def test_the_rungs_of_the_paper() -> None:
    result = search([float(place + 1) for place in range(16)], noise=0.0, seed=0, budget=64.0)
    assert [(len(rung.arms), rung.resource) for rung in result.rungs] == [(16, 1.0), (8, 2.0), (4, 4.0), (2, 8.0)]


def test_arms_that_fail_are_out() -> None:
    def measure(arms: Sequence[int], resource: float) -> list[float | None]:
        return [None if arm < 3 else float(arm) for arm in arms]

    result = successive_halving(range(8), measure, order=smallest_first, budget=8.0, keep=2)
    assert result.kept == (3, 4)
    assert result.figures[:3] == (None, None, None)
    nothing = successive_halving(range(3), measure, order=smallest_first, budget=8.0, keep=2)
    assert nothing.kept == ()


def test_it_stops_when_told_to() -> None:
    calls: list[int] = []

    def measure(arms: Sequence[float], resource: float) -> list[float]:
        calls.append(len(arms))
        return list(arms)

    result = successive_halving(
        [float(place) for place in range(16)],
        measure,
        order=smallest_first,
        budget=1.0,
        keep=2,
        stop=lambda: len(calls) == 2,
    )
    assert result.stopped
    assert calls == [16, 8]
    assert result.kept == (0, 1)


def test_the_seed_decides_about_order_alone() -> None:
    orders = set()
    for seed in (0, 1, 0):
        seen: list[tuple[int, ...]] = []

        def measure(arms: Sequence[int], resource: float, seen: list[tuple[int, ...]] = seen) -> list[float]:
            seen.append(tuple(arms))
            return [float(arm) for arm in arms]

        assert successive_halving(range(9), measure, order=smallest_first, budget=9.0, seed=seed).kept == (0,)
        orders.add(seen[0])
    assert len(orders) == 2


@pytest.mark.parametrize(("keep", "eta"), [(0, 2.0), (1, 1.0), (1, 0.5), (1, math.nan)])
def test_what_would_never_end_is_refused(keep: int, eta: float) -> None:
    with pytest.raises(BadInput):
        successive_halving([1.0], lambda arms, resource: [1.0], order=smallest_first, budget=1.0, keep=keep, eta=eta)
