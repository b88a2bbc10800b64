"""Which subjects that were measured in turn get further rounds: those whose ratios would be told less surely than could be.

A neighbour that comes and goes makes the ratios of rounds differ; it goes on for seconds, so more rounds help where longer
ones would not. What ends the rounds is how sure a ratio is and never where it lies, and it is looked at only a few times: a
rule that stops at a welcome figure would find differences where there are none.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from edgecnn.bench.stats import paired_ratio

SURE_ENOUGH = 0.03
"""Half the width of a ratio's interval up to which there are no further rounds: the gate that users set most often."""

FURTHER = 1.0
"""Further rounds at most, as a share of those planned."""

LOOKS = 2
"""So many times it is looked whether further rounds are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """What is known of one subject.

    Attributes:
        like: subjects of which this is equal are read against each other, builds of one network for example.
        medians_ns: of its blocks, in order of the rounds.
    """

    like: Hashable
    medians_ns: Sequence[float]


def steps(rounds: int) -> list[int]:
    """Return how many further rounds there are after each look."""
    most = round(FURTHER * rounds)
    ends = [round(most * look / LOOKS) for look in range(LOOKS + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def unsure(subjects: Sequence[InTurn]) -> set[int]:
    """Return the places of all that are like each other where the ratio of any two is less sure than `SURE_ENOUGH`.

    All of them go on, so that their medians are of the same time.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, subject in enumerate(subjects):
        groups.setdefault(subject.like, []).append(place)
    return {
        place
        for places in groups.values()
        if not all(_is_sure(*(subjects[one].medians_ns for one in pair)) for pair in combinations(places, 2))
        for place in places
    }


def _is_sure(first: Sequence[float], second: Sequence[float]) -> bool:
    common = min(len(first), len(second))
    interval = paired_ratio(first[:common], second[:common])[1] if common and min(*first, *second) > 0 else None
    return interval is not None and math.log(interval[1] / interval[0]) <= 2 * SURE_ENOUGH
