"""Candidates to records: the one place that knows how they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgecnn.bench import Progress, make_job, make_plan, measure_interleaved
from edgecnn.bench.rounds import LEAST_ROUNDS
from edgecnn.results import Record
from edgecnn.specs import Artifact
from edgecnn.tune.candidates import Candidate, FileForm

MOST_TOGETHER = 8
"""Candidates that take turns: as many processes stand by, each with its model."""

SCREENING_RUNS = 10
"""Samples of a short measurement at least: what an interval of the median needs."""

CONFIRMING_RUNS = 30
"""Samples of a measurement that a choice rests on, as `edgecnn bench` has them."""

OVERHEAD_SECONDS = 1.2
"""What a candidate takes besides sampling: a process, an engine, loading, the warm-up."""

Measure = Callable[[Sequence[Candidate], float, bool], "list[Record]"]
"""Takes candidates, seconds of sampling for each, and whether the measurement is the one that counts."""


def measuring(
    files: Mapping[FileForm, Artifact],
    *,
    seed: int = 0,
    power: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Measure:
    """Return a function that measures candidates in turn, a few at a time; what fails is a failed record.

    The rounds are as many as were planned: the search has its own time to keep.

    Args:
        files: of the candidates' forms.
        seed: of the input values.
        power: sensor that is read where it counts, None for none.
        on_progress: see `edgecnn.bench.measure_interleaved`.
    """

    def measure(candidates: Sequence[Candidate], seconds: float, counts: bool) -> list[Record]:
        runs = CONFIRMING_RUNS if counts else SCREENING_RUNS
        jobs = []
        for one in candidates:
            plan = make_plan(batch=one.batch, seconds=seconds, min_runs=runs, seed=seed)
            job = make_job(files[one.form], backend=one.backend, options=one.options, plan=plan)
            jobs.append(replace(job, power=power if counts else None))
        found: list[Record] = []
        for start in range(0, len(jobs), MOST_TOGETHER):
            found += measure_interleaved(
                jobs[start : start + MOST_TOGETHER], rounds=LEAST_ROUNDS, on_progress=on_progress
            )
        return found

    return measure
