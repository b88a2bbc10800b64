"""Which point is taken: limits first, then what is preferred.

By how much a limit is missed is the natural logarithm of the ratio for quantities (a factor of e counts as 1), and
percentage points for the drop (a point counts as 1). Points that miss limits are ordered by the sum, those that hold all of
them by Pareto layers and by what is preferred (constrained domination: Deb, Pratap, Agarwal and Meyarivan 2002, section VI).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgecnn.tune.budget import Axis, Budget
from edgecnn.tune.candidates import Candidate
from edgecnn.tune.figures import Figures
from edgecnn.tune.pareto import Costs, coarse, front, layers

STEP = 0.03
"""Latencies and memory that differ by less are equal: so much moves from one process to the next."""

SCREENING_SLACK = 0.1
"""By how much a short measurement may miss a limit without counting as a miss."""

ROUNDING = 1e-6
"""Percentage points; a drop is a ratio of two counts."""


def _known(value: float | None) -> float:
    return math.inf if value is None else value


def _loss(figures: Figures) -> float:
    return math.inf if figures.accuracy is None else 1 - figures.accuracy


PREFERENCES: Mapping[str, Callable[[Figures], float]] = {
    "latency": lambda figures: figures.latency_ns,
    "throughput": lambda figures: 1 / figures.throughput,
    "memory": lambda figures: _known(figures.memory_bytes),
    "energy": lambda figures: _known(figures.energy_mj),
    "size": lambda figures: float(figures.size_bytes),
    "accuracy": _loss,
    "macs": lambda figures: -float(figures.macs or 0),
}
"""What may be preferred among points that hold the budget -> its cost. "macs" takes the largest network that fits: within a
family accuracy grows with multiply-adds (Howard et al. 2017, figure 4), which random weights cannot show."""

_NOISY = ("latency", "throughput", "memory", "energy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A candidate and what was measured of it.

    Attributes:
        candidate: what was measured.
        figures: what came out.
        confirmed: it was measured at length, at the end, in turn with the others that were left.
    """

    candidate: Candidate
    figures: Figures
    confirmed: bool = False


def value_of(figures: Figures, axis: Axis, *, surely: bool = True) -> float | None:
    """Return what is held against a limit; of latency and throughput the worse end of the interval where there is one.

    Args:
        figures: what was measured.
        axis: the quantity.
        surely: whether the interval counts.
    """
    value: float | None = getattr(figures, axis.field)
    if surely and figures.latency_ci95_ns is not None and axis.field in ("latency_ns", "throughput"):
        worst = figures.latency_ci95_ns[1]
        return worst if axis.field == "latency_ns" else figures.throughput * figures.latency_ns / worst
    return value


def excess(axis: Axis, limit: float, value: float | None) -> float:
    """Return by how much a limit is missed, 0 where it is held, infinity where the value is not known."""
    if value is None:
        return math.inf
    if axis.field == "drop_points":
        over = value - limit
        return over if over > ROUNDING else 0.0
    ratio = limit / max(value, 1e-300) if axis.at_least else max(value, 1e-300) / limit
    return max(0.0, math.log(ratio))


def violation(budget: Budget, figures: Figures, *, slack: float = 0.0) -> float:
    """Return the sum of the excesses over all limits.

    Args:
        budget: the limits.
        figures: what was measured.
        slack: excess of a measured quantity that does not count; size and drop are not subject to noise.
    """
    total = 0.0
    for axis, limit in budget.limits:
        over = excess(axis, limit, value_of(figures, axis, surely=slack == 0))
        exact = axis.field in ("drop_points", "size_bytes")
        total += over if exact or over > slack else 0.0
    return total


def costs(figures: Figures) -> Costs:
    """Return the point on the Pareto axes: latency of one image, memory, loss of accuracy, size, energy."""
    return (
        coarse(1e9 / figures.throughput, STEP),
        coarse(figures.latency_ns, STEP),
        coarse(_known(figures.memory_bytes), STEP),
        _loss(figures),
        float(figures.size_bytes),
        coarse(_known(figures.energy_mj), STEP),
    )


def pareto_front(points: Sequence[Point], *, macs: bool = False) -> tuple[Point, ...]:
    """Return the points that no other beats, the fastest first; what was only screened beats nothing that was confirmed.

    Args:
        points: those that were measured.
        macs: a larger network is worth something, because its accuracy cannot be measured.
    """
    ordered = sorted(points, key=lambda point: (not point.confirmed, point.figures.latency_ns))
    confirmed = [point for point in ordered if point.confirmed]
    whole, sure = (_on_front(some, macs=macs) for some in (ordered, confirmed))
    found = [*sure, *(point for point in whole if not point.confirmed)]
    return tuple(sorted(found, key=lambda point: point.figures.latency_ns))


def _on_front(points: Sequence[Point], *, macs: bool) -> list[Point]:
    places = front([(*costs(point.figures), -float(point.figures.macs or 0) if macs else 0.0) for point in points])
    return [points[place] for place in places]


def ranking(
    figures: Sequence[Figures], budget: Budget, *, prefer: str, slack: float = SCREENING_SLACK
) -> tuple[int, ...]:
    """Return the places of figures, the best first: by violation, then by Pareto layer, then by what is preferred."""
    missed = [violation(budget, one, slack=slack) for one in figures]
    holding = [at for at in range(len(figures)) if not missed[at]]
    larger = prefer == "macs"
    found = [(*costs(figures[at]), -float(figures[at].macs or 0) if larger else 0.0) for at in holding]
    depth = dict(zip(holding, layers(found), strict=True))
    return tuple(
        sorted(
            range(len(figures)),
            key=lambda at: (missed[at], depth.get(at, 0), PREFERENCES[prefer](figures[at]), _second(figures[at])),
        )
    )


def choose(points: Sequence[Point], budget: Budget, *, prefer: str) -> Point | None:
    """Return the preferred one of the points that surely hold the budget, None where none does.

    A point whose measurement is invalid is taken only where there is no other. Points that are as good within `STEP` in
    what is preferred are told apart by accuracy, then latency, memory and size.

    Args:
        points: that were measured.
        budget: the limits.
        prefer: one of `PREFERENCES`.
    """
    fitting = [point for point in points if not violation(budget, point.figures)]
    fitting = [point for point in fitting if point.figures.verdict != "invalid"] or fitting
    if not fitting:
        return None
    best = min(PREFERENCES[prefer](point.figures) for point in fitting)
    bound = best * (1 + STEP) if prefer in _NOISY else best
    equal = [point for point in fitting if PREFERENCES[prefer](point.figures) <= bound]
    return min(equal, key=lambda point: _second(point.figures))


def passed_over(points: Sequence[Point], budget: Budget, chosen: Point, *, prefer: str) -> Point | None:
    """Return the best point that holds the budget and is better than the chosen one, but has an invalid measurement.

    Args:
        points: that were measured; those that were only screened do not count.
        budget: the limits.
        chosen: what `choose` gave.
        prefer: one of `PREFERENCES`.
    """
    cost = PREFERENCES[prefer]
    better = [
        point
        for point in points
        if point.confirmed
        and point.figures.verdict == "invalid"
        and not violation(budget, point.figures)
        and cost(point.figures) < cost(chosen.figures)
    ]
    return min(better, key=lambda point: cost(point.figures), default=None)


def _second(figures: Figures) -> tuple[float, ...]:
    """Return what orders points that are equal in what is preferred: accuracy, latency, memory, size."""
    return (
        _loss(figures),
        coarse(figures.latency_ns, STEP),
        coarse(_known(figures.memory_bytes), STEP),
        float(figures.size_bytes),
        figures.latency_ns,
    )
