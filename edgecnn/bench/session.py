"""What `edgecnn bench` does: turn a request into jobs, measure them, and keep every record as soon as there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.bench.interleave import measure_jobs
from edgecnn.bench.interrupts import undisturbed
from edgecnn.bench.job import Job
from edgecnn.bench.measuring import make_job
from edgecnn.bench.progress import OnProgress
from edgecnn.bench.running import Result
from edgecnn.bench.scenarioresult import STREAMS
from edgecnn.bench.subjects import unmeasured
from edgecnn.bench.timed import timed_with_copies
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError, ResultsError
from edgecnn.resultlines import append
from edgecnn.results import Plan, Record
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact

Choose = Callable[[Artifact, OpenOptions, int], str]
"""Gives the backend of a model, by artifact, options and batch; for `--backend auto`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One measurement that was asked for.

    Attributes:
        artifact: the model.
        plan: how it is measured.
        options: how its session is opened.
        power: sensor that is read besides, None for none.
        memory: look at what a run takes at a time as well.
    """

    artifact: Artifact
    plan: Plan
    options: OpenOptions
    power: str | None = None
    memory: bool = False


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was measured before it.

    Attributes:
        outcome: of the requests that had come so far.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of all requests.

    Attributes:
        records: in the order of the requests; those that no backend was found for come first.
        errors: what went wrong, in the order in which it did.
        written: records that are in the results file.
        unmeasured: skipped records of what nothing is known of, because all of it was interrupted; not in the results file.
    """

    records: tuple[Record, ...]
    errors: tuple[EdgecnnError, ...]
    written: int
    unmeasured: tuple[Record, ...] = ()


def requests_for(
    artifacts: Sequence[Artifact],
    plan: Plan,
    options: OpenOptions,
    *,
    batches: Sequence[int] | None = None,
    power: str | None = None,
    memory: bool = False,
) -> list[Request]:
    """Return one request per model and batch.

    Args:
        artifacts: the models.
        plan: how each is measured, but for its batch.
        options: how sessions are opened.
        batches: images per run; None takes what suits each file.
        power: sensor that is read besides.
        memory: look at what a run takes at a time as well.
    """
    return [
        Request(artifact=artifact, plan=replace(plan, batch=size), options=options, power=power, memory=memory)
        for artifact in artifacts
        for size in batches or (own_batch(artifact, plan),)
    ]


def own_batch(artifact: Artifact, plan: Plan | None = None) -> int:
    """Return the batch that a file was exported for; where it takes any, 1, or as many samples as a query has.

    Args:
        artifact: the model.
        plan: whose scenario is looked at.
    """
    shape = artifact.spec.inputs[0].shape if artifact.spec.inputs else ()
    if shape and isinstance(shape[0], int):
        return shape[0]
    return STREAMS if plan is not None and plan.scenario == "multi-stream" else 1


def run_session(
    requests: Sequence[Request],
    path: Path,
    *,
    choose: Choose,
    with_copies: bool = False,
    on_progress: OnProgress | None = None,
) -> Outcome:
    """Return what came of all requests; each record is appended to a file at once.

    A model that cannot be measured becomes a record that says so, and the others go on. When this is interrupted (Ctrl-C),
    what was measured so far is appended first; of the rest the exception says that it was not measured.

    Args:
        requests: what is measured; at least one.
        path: results file.
        choose: gives the backend of each model.
        with_copies: measure each once more with copies, and with pre- and postprocessing.
        on_progress: called between blocks of runs.

    Raises:
        Interrupted: Ctrl-C; what was measured so far is in the file and in the exception.
    """
    keeper = _Keeper(path)
    jobs: list[Job] = []
    # What is to be said something about yet, by the place of its request or, once there is one, of its job.
    open_requests, open_jobs = dict(enumerate(requests)), dict[int, Job]()

    def keep(place: int, result: Result) -> None:
        keeper.keep(result)
        open_jobs.pop(place, None)

    try:
        for place, request in enumerate(requests):
            try:
                jobs += _jobs(request, choose, with_copies=with_copies)
                open_jobs = dict(enumerate(jobs))
            except EdgecnnError as error:
                record = unmeasured(request.artifact, plan=request.plan, status="failed", reason=error.message)
                keeper.keep(Result(record=record, error=error))
            del open_requests[place]
        results = measure_jobs(jobs, on_progress=on_progress, on_result=keep) if jobs else []
    except KeyboardInterrupt:
        with undisturbed():
            left = (*map(_left_out, open_jobs.values()), *map(_left_out, open_requests.values()))
        raise Interrupted(replace(keeper.outcome(), unmeasured=left)) from None
    done = [result.record for result in results]
    early = [record for record in keeper.records if not any(record is one for one in done)]
    return replace(keeper.outcome(), records=(*early, *done))


def failure(outcome: Outcome, *, strict: bool = False) -> EdgecnnError | None:
    """Return what a program should end with: the first error, a worker that died, or a doubt where none is allowed.

    Args:
        outcome: whose records are on the disk already.
        strict: a record that is suspect or invalid is an error.
    """
    if outcome.errors:
        return outcome.errors[0]
    failed = [record for record in outcome.records if record.status == "failed"]
    if failed:
        names = "; ".join(f"{record.subject.file}: {record.reason}" for record in failed)
        return MeasurementError(f"{len(failed)} of {len(outcome.records)} measurements failed: {names}")
    doubtful = [record for record in outcome.records if record.quality.verdict not in ("valid", None)]
    if strict and doubtful:
        first = doubtful[0]
        reason = first.quality.reasons[0]
        return MeasurementError(
            f"{len(doubtful)} of {len(outcome.records)} measurements are not valid; {first.subject.file}, "
            f"batch {first.plan.batch}, is {first.quality.verdict}: {reason.message}",
            reason.advice,
        )
    return None


def results_path(output: Path | None) -> Path:
    """Return the file that records are appended to.

    Raises:
        BadInput: a name that is not that of a results file; a model named by mistake must not be written to.
    """
    path = output or Path("results.jsonl")
    if path.suffix != ".jsonl":
        raise BadInput("results file", expected="a name that ends in .jsonl", got=str(path))
    return path


def _jobs(request: Request, choose: Choose, *, with_copies: bool) -> list[Job]:
    artifact, plan = request.artifact, request.plan
    backend = choose(artifact, request.options, plan.batch)
    timed = timed_with_copies(artifact, backend) if with_copies else (plan.timed,)
    return [
        replace(
            make_job(artifact, backend=backend, options=request.options, plan=replace(plan, timed=one)),
            power=request.power,
            memory=request.memory,
        )
        for one in timed
    ]


def _left_out(one: Job | Request) -> Record:
    """Return the record of what was interrupted before there was anything to tell."""
    end = "its queries" if one.plan.scenario else "its first block of timed runs"
    return unmeasured(one.artifact, plan=one.plan, status="skipped", reason=f"interrupted before {end} had ended")


class _Keeper:
    """Appends records to a file until it refuses one."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = []
        self.errors: list[EdgecnnError] = []
        self.written = 0
        self._path = path
        self._open = True

    def outcome(self) -> Outcome:
        return Outcome(records=tuple(self.records), errors=tuple(self.errors), written=self.written)

    def keep(self, result: Result) -> None:
        self.records.append(result.record)
        if result.error is not None:
            self.errors.append(result.error)
        if not self._open:
            return
        try:
            append(self._path, [result.record])
            self.written += 1
        except ResultsError as error:
            self._open = False
            self.errors.append(error)
