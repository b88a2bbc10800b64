"""Successive halving: many arms get a short measurement, the better part of them a longer one, and so on.

Of n arms and a budget B in ceil(log_eta(n / keep)) rungs, each rung divides its equal share of B among the arms that are
left and keeps 1 of eta. (Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter
Optimization, AISTATS, algorithm 1, for eta = 2 and keep = 1.) What a longer measurement tells takes the place of what a
shorter one told. Nothing is measured here: the function that measures is given.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgecnn.errors import BadInput

T = TypeVar("T")
M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One round of measurements.

    Attributes:
        arms: places of the arms that were measured, ascending.
        resource: that each of them got.
        kept: places of those that went on, the best first.
    """

    arms: tuple[int, ...]
    resource: float
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halved(Generic[M]):
    """What came of a search.

    Attributes:
        kept: places of the arms that are left, the best first.
        figures: of each arm, its last measurement; None where it failed or was never measured.
        rungs: in order.
        stopped: it ended before the last rung because it was told to.
    """

    kept: tuple[int, ...]
    figures: tuple[M | None, ...]
    rungs: tuple[Rung, ...]
    stopped: bool = False


def rungs_for(arms: int, *, keep: int, eta: float = 2.0) -> int:
    """Return in how many rungs so many arms become at most `keep`; 0 where they are no more already."""
    rungs, left = 0, arms
    while left > keep:
        left = _cut(left, keep, eta)
        rungs += 1
    return rungs


def resource_for(budget: float, *, arms: int, rungs: int, least: float, most: float) -> float:
    """Return what each arm of a rung gets: its share of the budget, between the least and the most that make sense."""
    return min(max(budget / (arms * rungs), least), most)


def successive_halving(
    arms: Sequence[T],
    measure: Callable[[Sequence[T], float], Sequence[M | None]],
    *,
    order: Callable[[Sequence[tuple[T, M]]], Sequence[int]],
    budget: float,
    keep: int = 1,
    eta: float = 2.0,
    least: float = 0.0,
    most: float = math.inf,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Halved[M]:
    """Return the arms that are left, and what was measured on the way.

    Args:
        arms: what is compared.
        measure: takes arms and a resource for each, returns one figure per arm, None for one that failed.
        order: takes arms with their figures, returns their places, the best first.
        budget: in units of the resource; the least resource may exceed it.
        keep: how many arms are left at most, at least 1. They are measured no further than the last rung did.
        eta: 1 of so many arms goes on, above 1.
        least: resource of an arm at least.
        most: resource of an arm at most.
        seed: of the order in which arms are measured, and in which equally good ones stand.
        stop: asked before every rung but the first; True ends the search with what there is.

    Raises:
        BadInput: keep below 1 or eta not above 1.
    """
    if keep < 1 or not eta > 1:
        raise BadInput("successive halving", expected="keep at least 1 and eta above 1", got=f"{keep} and {eta:g}")
    generator = random.Random(seed)
    figures: list[M | None] = [None] * len(arms)
    left = list(range(len(arms)))
    rungs: list[Rung] = []
    planned = max(1, rungs_for(len(arms), keep=keep, eta=eta))
    stopped = False
    while left and (not rungs or len(left) > keep):
        if rungs and stop():
            stopped = True
            break
        generator.shuffle(left)
        resource = resource_for(budget, arms=len(left), rungs=planned, least=least, most=most)
        for place, figure in zip(left, measure([arms[place] for place in left], resource), strict=True):
            figures[place] = figure
        measured = [(place, figure) for place in left if (figure := figures[place]) is not None]
        ranked = [measured[at][0] for at in order([(arms[place], figure) for place, figure in measured])]
        kept = ranked[: _cut(len(left), keep, eta)]
        rungs.append(Rung(arms=tuple(sorted(left)), resource=resource, kept=tuple(kept)))
        left = kept
    return Halved(kept=tuple(left[:keep]), figures=tuple(figures), rungs=tuple(rungs), stopped=stopped)


def _cut(arms: int, keep: int, eta: float) -> int:
    """Return how many of so many arms go on: one fewer at least, so that every search ends."""
    return max(keep, min(arms - 1, math.ceil(arms / eta)))
