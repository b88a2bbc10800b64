"""Measuring from the outside: models go in, judged records come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgecnn.bench.inputs import fitted_shape
from edgecnn.bench.interleave import measure_jobs
from edgecnn.bench.job import Job
from edgecnn.bench.plan import make_plan
from edgecnn.bench.progress import Progress
from edgecnn.results import Plan, Record
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, sized_inputs


def measure(
    artifact: Artifact,
    *,
    backend: str = "cpu",
    options: OpenOptions | None = None,
    plan: Plan | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    command: Sequence[str] | None = None,
    root: Path = Path("/"),
) -> Record:
    """Return the record of one measurement in a fresh child process; a child that dies gives a record that says so.

    Args:
        artifact: the model.
        backend: name of the runtime.
        options: how the session is opened.
        plan: how it is measured, see `make_plan`.
        on_progress: called between two blocks of runs, so that what it does disturbs nothing.
        command: program and arguments of the worker, by default this interpreter's.
        root: folder that stands for "/" where /proc and /sys are read.

    Raises:
        UnknownName: no such backend.
        MissingDependency: the engine is not installed.
        RuntimeUnavailable: the backend cannot run here.
        BadInput: the model cannot be run with this batch, or the engine does not read it.
        EdgecnnError: any other error of edgecnn in the child, of the same class.
    """
    get_runtime(backend).check()
    job = make_job(artifact, backend=backend, options=options, plan=plan, root=root)
    for spec in sized_inputs(artifact.spec.inputs, artifact.spec.preprocess):
        fitted_shape(spec, batch=job.plan.batch)
    (result,) = measure_jobs([job], on_progress=on_progress, command=command)
    if result.error is not None:
        raise result.error
    return result.record


def measure_interleaved(
    subjects: Sequence[Artifact | Job],
    *,
    backend: str = "cpu",
    options: OpenOptions | None = None,
    plan: Plan | None = None,
    rounds: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_record: Callable[[Record], None] | None = None,
    command: Sequence[str] | None = None,
    root: Path = Path("/"),
) -> list[Record]:
    """Return one record per subject, in order, measured block by block in turn; what cannot be measured is a failed record.

    Block n of every record's latency was measured in round n, so that ratios by rounds are ratios under equal conditions
    (`edgecnn.bench.stats.paired_ratio`). Subjects that do not fit into memory together are measured one after the other:
    their records then have no common `provenance.group`.

    Args:
        subjects: models, which are measured as the options below say, or jobs, which have their own.
        backend: name of the runtime.
        options: how sessions are opened.
        plan: how they are measured.
        rounds: blocks of each; None takes what suits them.
        on_progress: called between two blocks.
        on_record: called with each record as soon as it is complete; after Ctrl-C first with what was measured so far.
        command: program and arguments of the workers.
        root: folder that stands for "/" where /proc and /sys are read.

    Raises:
        BadInput: fewer than one round.
    """
    jobs = [
        one if isinstance(one, Job) else make_job(one, backend=backend, options=options, plan=plan, root=root)
        for one in subjects
    ]
    results = measure_jobs(
        jobs,
        rounds=rounds,
        on_progress=on_progress,
        on_result=(lambda _, result: on_record(result.record)) if on_record else None,
        command=command,
    )
    return [result.record for result in results]


def make_job(
    artifact: Artifact,
    *,
    backend: str = "cpu",
    options: OpenOptions | None = None,
    plan: Plan | None = None,
    root: Path = Path("/"),
) -> Job:
    """Return a job whose session is promised the plan's batch and no larger one, unless a batch was promised already.

    Args:
        artifact: the model.
        backend: name of the runtime.
        options: how the session is opened.
        plan: how it is measured.
        root: folder that stands for "/" where /proc and /sys are read.
    """
    options, plan = options or OpenOptions(), plan or make_plan()
    sized = options if options.max_batch is not None else replace(options, max_batch=plan.batch)
    return Job(artifact=artifact, backend=backend, options=sized, plan=plan, root=root)
