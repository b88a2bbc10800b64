"""Why no point holds a budget: the point that comes closest, what it misses, and what would have to give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.tune.budget import Axis, Budget
from edgecnn.tune.choice import ROUNDING, Point, excess, value_of, violation

ROOM = 1.05
"""By how much a limit that is proposed is wider than what was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A limit that is missed.

    Attributes:
        axis: name of the quantity.
        limit: in the unit of the budget's field.
        got: likewise, null where it was not measured.
        text: all of it in words.
    """

    axis: str
    limit: float
    got: float | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """Why no point holds the budget.

    Attributes:
        closest: the point that comes closest.
        missed: the limits that it misses.
        relaxed: for each limit that alone would have to give, others kept: what it would have to be.
        together: the limits that the closest point would hold, of those that it misses; empty where one was not measured.
    """

    closest: Point
    missed: tuple[Miss, ...]
    relaxed: tuple[Miss, ...]
    together: str = ""

    @property
    def message(self) -> str:
        """The miss in one line."""
        return f"the budget cannot be held here: closest is {self.closest.candidate.text}, with " + "; ".join(
            miss.text for miss in self.missed
        )

    @property
    def hint(self) -> str:
        """What would have to give, in one line."""
        if self.relaxed:
            which = "this" if len(self.relaxed) == 1 else "one of these"
            return f"{which} would do, the rest kept: " + ", ".join(miss.text for miss in self.relaxed)
        if self.together:
            return f"no limit alone is to blame; together these would do: {self.together}"
        return "no limit alone is to blame: relax several, or take another network"


def explain(points: Sequence[Point], budget: Budget) -> Unreachable:
    """Return why no point holds the budget.

    Args:
        points: at least one; the closest is one that was confirmed, where there is one.
        budget: that none of them holds.
    """
    confirmed = [point for point in points if point.confirmed]
    closest = min(confirmed or points, key=lambda point: violation(budget, point.figures))
    values = [(axis, limit, value_of(closest.figures, axis)) for axis, limit in budget.limits]
    missed = [(axis, limit, value) for axis, limit, value in values if excess(axis, limit, value) > 0]
    relaxed = (_relaxed(points, budget, axis, limit) for axis, limit in budget.limits)
    known = all(value is not None for _, _, value in missed)
    return Unreachable(
        closest=closest,
        missed=tuple(_miss(*one) for one in missed),
        relaxed=tuple(one for one in relaxed if one is not None),
        together=", ".join(_proposed(axis, value) for axis, _, value in missed if value is not None) if known else "",
    )


def _relaxed(points: Sequence[Point], budget: Budget, axis: Axis, limit: float) -> Miss | None:
    """Return what a limit would have to be for a point that holds all others; None where there is no such point."""
    values = []
    for point in points:
        held = all(
            excess(other, bound, value_of(point.figures, other)) == 0
            for other, bound in budget.limits
            if other is not axis
        )
        value = value_of(point.figures, axis)
        if held and value is not None:
            values.append(value)
    if not values:
        return None
    best = max(values) if axis.at_least else min(values)
    if excess(axis, limit, best) == 0:
        return None  # a point that was not confirmed seems to hold all limits
    return Miss(
        axis=axis.name,
        limit=limit,
        got=best,
        text=f"{_proposed(axis, best)} in place of {axis.text(limit)}",
    )


def _proposed(axis: Axis, value: float) -> str:
    """Return a limit that would be held, as a budget has it."""
    return f"{axis.name}={axis.text(_with_room(axis, value))}"


def _with_room(axis: Axis, value: float) -> float:
    """Return a limit that holds a value when it is measured again and rounded."""
    if axis.field == "drop_points":
        return math.ceil(value * 100 - ROUNDING) / 100
    return value / ROOM if axis.at_least else value * ROOM


def _miss(axis: Axis, limit: float, value: float | None) -> Miss:
    if value is None:
        text = f"{axis.name} not measured, limit {axis.text(limit)}"
    elif axis.field == "drop_points":
        text = f"{axis.name} {axis.text(value)}, {value - limit:.2f} beyond {axis.text(limit)}"
    else:
        ratio = limit / value if axis.at_least else value / limit
        times = f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"
        text = f"{axis.name} {axis.text(value)}, {times} times off {axis.text(limit)}"
    return Miss(axis=axis.name, limit=limit, got=value, text=text)
