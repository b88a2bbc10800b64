"""Which points no other point beats: pure functions over tuples of costs, the smaller the better on every axis.

Dominance is between whole points: as good on every axis and better on one. Measured costs differ by noise, so that
`coarse` first puts them on a grid; on it dominance is a partial order again, which a comparison "better by more than 3%"
is not (the boxes of Laumanns, Thiele, Deb and Zitzler 2002, Evolutionary Computation 10, 263).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Costs = tuple[float, ...]
"""One point; infinity for what is not known."""


def dominates(one: Costs, other: Costs) -> bool:
    """Tell whether a point is as good as another on every axis and better on one."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def front(points: Sequence[Costs]) -> tuple[int, ...]:
    """Return the places of the points that no other dominates, in order; of equal ones the first."""
    return tuple(
        place
        for place, point in enumerate(points)
        if not any(dominates(other, point) for other in points) and points.index(point) == place
    )


def layers(points: Sequence[Costs]) -> tuple[int, ...]:
    """Return of each point how many fronts must be taken away until it is on one itself: 0 for the front.

    Equal points are of one layer. (Non-dominated sorting: Deb, Pratap, Agarwal and Meyarivan 2002, IEEE Transactions on
    Evolutionary Computation 6, 182, section III-A.)
    """
    found = [0] * len(points)
    left, layer = set(range(len(points))), 0
    while left:
        first = {place for place in left if not any(dominates(points[other], points[place]) for other in left)}
        for place in first:
            found[place] = layer
        left -= first
        layer += 1
    return tuple(found)


def coarse(value: float, step: float) -> float:
    """Return a cost on a grid whose lines lie a factor of 1 + step apart; 0, infinity and a step of 0 stay as they are.

    Args:
        value: at least 0.
        step: relative distance of two lines, at least 0.
    """
    if step == 0 or value <= 0 or math.isinf(value):
        return value
    return math.pow(1 + step, round(math.log(value) / math.log1p(step)))
