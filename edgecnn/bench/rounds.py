"""How a measurement is cut into rounds: in each of them every subject has one block of timed runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgecnn.bench.job import BlockAsked
from edgecnn.results import Plan

MOST_ROUNDS = 20
"""More rounds would be shorter than what it takes a neighbour to come and go."""

LEAST_ROUNDS = 10
"""What an interval of a ratio by rounds needs (`edgecnn.bench.stats.MIN_SAMPLES`)."""

SUSTAIN_BLOCKS = 60
"""Points of a curve over time: six to the minute where it lasts ten."""

BLOCK_RUNS = 10
"""Runs of a block that is not cut shorter by `LEAST_ROUNDS`."""

BLOCK_SECONDS = 0.02
"""A shorter block would consist of what it takes to wake up a process."""

SETTLE_SECONDS = 0.002
"""Time in which caches of some megabytes are filled again at a few GB/s, after another process has used them."""

_SETTLE_SHARE = 0.1
# A run that is longer than this share of its block fills the caches within itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A subject's plan and how long its runs take.

    Attributes:
        plan: how it is measured.
        median_ns: of a run, seen in the warm-up.
    """

    plan: Plan
    median_ns: float

    @property
    def needed_seconds(self) -> float:
        """Seconds of sampling that its plan asks for."""
        by_runs = self.plan.min_runs * self.median_ns / 1e9
        return min(max(self.plan.min_seconds, by_runs), self.plan.max_seconds)


def rounds_for(paces: Sequence[Pace]) -> int:
    """Return in how many rounds these subjects are measured together: 10 to 20, as the slowest of them allows."""
    each = [pace.needed_seconds / max(BLOCK_RUNS * pace.median_ns / 1e9, BLOCK_SECONDS) for pace in paces]
    return max(LEAST_ROUNDS, min(MOST_ROUNDS, math.floor(min(each, default=LEAST_ROUNDS))))


def block_for(pace: Pace, rounds: int) -> BlockAsked:
    """Return a subject's block in each of so many rounds."""
    plan = pace.plan
    seconds = plan.min_seconds / rounds
    lasts_ns = max(seconds * 1e9, pace.median_ns * plan.min_runs / rounds)
    return BlockAsked(
        min_runs=math.ceil(plan.min_runs / rounds),
        min_seconds=seconds,
        max_seconds=plan.max_seconds / rounds,
        settle_seconds=SETTLE_SECONDS if pace.median_ns <= _SETTLE_SHARE * lasts_ns else 0.0,
    )


def turn(round_number: int, count: int) -> tuple[int, ...]:
    """Return in which order the subjects have their turns in a round.

    Every other round is the one before it backwards, so that what drifts evenly cancels within the two and nobody always
    follows the same one; the next two begin one place further.

    Args:
        round_number: from 0.
        count: of the subjects.
    """
    order = tuple((round_number // 2 + place) % count for place in range(count))
    return order[::-1] if round_number % 2 else order
