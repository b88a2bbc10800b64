"""Screening by successive halving, then confirmation of what is left: candidates in, points out, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgecnn.results import Record
from edgecnn.specs import Accuracy
from edgecnn.tune.budget import Budget
from edgecnn.tune.candidates import Candidate, LeftOut
from edgecnn.tune.choice import Point, choose, ranking
from edgecnn.tune.figures import Figures, figures_of
from edgecnn.tune.halving import Halved, rungs_for, successive_halving
from edgecnn.tune.measuring import MOST_TOGETHER, OVERHEAD_SECONDS, Measure

FINALISTS = 4
"""Candidates that are confirmed in turn with each other."""

CONFIRM_SECONDS = 1.5
"""Sampling of each of them: half of what `edgecnn bench` takes for a record, as they take turns."""

SCREEN_SECONDS = (0.1, 1.0)
"""Sampling of a candidate in a rung, least and most: enough to tell a fifth from noise."""

POWER_SECONDS = 30.0
"""What a sensor takes besides: a window of 10 s, as long idle, settling (`edgecnn.bench.power.measure`)."""

SCREENED_ENERGY = "only candidates that are confirmed are measured for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a candidate's file and backend before anything is timed.

    Attributes:
        accuracy: of the file through the backend, None where it cannot be measured.
        reference: accuracy of the fp32 file, likewise.
    """

    accuracy: Accuracy | None = None
    reference: Accuracy | None = None


class Deadline:
    """A time limit that is asked, never enforced: what has begun is finished.

    Args:
        seconds: from now on.
        now_ns: a monotonic clock.
    """

    def __init__(self, seconds: float, *, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._now_ns = now_ns
        self._begin_ns = now_ns()
        self._seconds = seconds

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since it was made."""
        return (self._now_ns() - self._begin_ns) / 1e9

    @property
    def left_seconds(self) -> float:
        """Seconds that are left, negative when it has passed."""
        return self._seconds - self.elapsed_seconds


@dataclass(kw_only=True)
class Search:
    """One search; `run` does it, the attributes tell what came of it.

    Attributes:
        budget: the limits.
        prefer: one of `edgecnn.tune.choice.PREFERENCES`.
        measure: candidates to records.
        known: of each candidate.
        deadline: of all of it.
        seed: of the order in which candidates are measured.
        power: a sensor is read where it counts.
        no_energy: why energy is null, where no sensor is read.
        on_stage: called with what is being done.
        records: last record of each candidate.
        points: last point of each candidate.
        left_out: candidates that failed, or that time was lacking for.
        halved: how the screening went.
    """

    budget: Budget
    prefer: str
    measure: Measure
    known: Mapping[Candidate, Known]
    deadline: Deadline
    seed: int = 0
    power: bool = False
    no_energy: str = ""
    on_stage: Callable[[str], None] = lambda stage: None
    records: dict[Candidate, Record] = field(default_factory=dict)
    points: dict[Candidate, Point] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    halved: Halved[Figures] | None = None

    def run(self, candidates: Sequence[Candidate]) -> Point | None:
        """Return the point that is chosen, None where none holds the budget."""
        self.halved = self._screen(candidates)
        finalists = [candidates[place] for place in self.halved.kept]
        chosen = None
        while finalists and chosen is None:
            self._confirm(finalists)
            confirmed = [point for point in self.points.values() if point.confirmed]
            chosen = choose(confirmed, self.budget, prefer=self.prefer)
            # Energy is known of those that were confirmed alone, and a limit can be missed by noise: the next ones then.
            finalists = self._next_ones() if self.deadline.left_seconds > self._confirm_seconds else []
        return chosen

    @property
    def _confirm_seconds(self) -> float:
        return FINALISTS * (OVERHEAD_SECONDS + CONFIRM_SECONDS + (POWER_SECONDS if self.power else 0.0))

    def _screen(self, candidates: Sequence[Candidate]) -> Halved[Figures]:
        left = self.deadline.left_seconds - self._confirm_seconds
        rungs = max(1, rungs_for(len(candidates), keep=FINALISTS))
        # Twice the first rung bounds the sum of all rungs.
        sampling = left - 2 * OVERHEAD_SECONDS * len(candidates)
        least, most = SCREEN_SECONDS
        self.on_stage(f"screening {len(candidates)} candidates in {rungs} rungs")
        return successive_halving(
            candidates,
            self._screened,
            order=lambda found: ranking([one for _, one in found], self._timed_budget, prefer=self._screen_prefer),
            budget=max(sampling, 0.0),
            keep=FINALISTS,
            least=least,
            most=most,
            seed=self.seed,
            stop=lambda: self.deadline.left_seconds < self._confirm_seconds,
        )

    @property
    def _timed_budget(self) -> Budget:
        """The budget without energy, which no short measurement tells."""
        return replace(self.budget, energy_mj=None)

    @property
    def _screen_prefer(self) -> str:
        # On one machine the energy of a run grows with its time.
        return "latency" if self.prefer == "energy" else self.prefer

    def _screened(self, candidates: Sequence[Candidate], seconds: float) -> list[Figures | None]:
        for start in range(0, len(candidates), MOST_TOGETHER):
            part = candidates[start : start + MOST_TOGETHER]
            if start and self.deadline.left_seconds < self._confirm_seconds:
                self.left_out += [
                    LeftOut(what=one.text, reason="out of time before it was measured")
                    for one in candidates[start:]
                    if one not in self.points
                ]
                break
            self._take(part, self.measure(part, seconds, False), confirmed=False)
        return [self.points[one].figures if one in self.points else None for one in candidates]

    def _confirm(self, finalists: Sequence[Candidate]) -> None:
        self.on_stage(f"confirming {len(finalists)} in turn")
        self._take(finalists, self.measure(finalists, CONFIRM_SECONDS, True), confirmed=True)

    def _next_ones(self) -> list[Candidate]:
        """Return the best candidates that seem to hold the budget and are not confirmed yet."""
        rest = [point for point in self.points.values() if not point.confirmed]
        holding = [point for point in rest if choose([point], self._timed_budget, prefer=self.prefer)]
        order = ranking([point.figures for point in holding], self._timed_budget, prefer=self._screen_prefer)
        return [holding[place].candidate for place in order[:FINALISTS]]

    def _take(self, candidates: Sequence[Candidate], records: Sequence[Record], *, confirmed: bool) -> None:
        for one, record in zip(candidates, records, strict=True):
            known = self.known[one]
            figures = figures_of(
                record,
                accuracy=known.accuracy,
                reference=known.reference,
                no_energy=self.no_energy or ("" if confirmed else SCREENED_ENERGY),
            )
            if figures is None:
                self.points.pop(one, None)
                self.left_out.append(LeftOut(what=one.text, reason=record.reason or "it was not measured"))
            else:
                self.records[one] = record
                self.points[one] = Point(candidate=one, figures=figures, confirmed=confirmed)
