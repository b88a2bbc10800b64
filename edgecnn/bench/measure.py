"""One measurement from the outside: start the worker, judge what comes back, fill in the record.

The metrics of a record, by name:

    latency          ns        one sample per run, of a whole batch; its interval is a bootstrap seeded by the plan
    throughput       images/s  derived from latency: batch * 1e9 / ns of its median, interval, least and greatest
                               sample; the mean is all images over all time; n is that of latency, and there are no
                               samples of its own and no percentiles (the 90th of latency is a 10th of throughput)
    load             ns        opening the session, with the engine already imported; one sample
    first_run        ns        the first run after it; one sample
    warmup           runs      between the first run and the first sample; the plan's number is the least
    memory_baseline  bytes     resident before loading: interpreter, numpy, engine, input arrays
    memory_peak      bytes     greatest resident size from there to the last run, without the samples themselves
    memory_added     bytes     the difference: weights, activations, outputs and workspace of the engine

Memory metrics are left out where the system does not tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.bench.child import run_child, worker_command
from edgecnn.bench.evidence import Evidence
from edgecnn.bench.inputs import fitted_shape
from edgecnn.bench.job import GarbledError, Job, Outcome, decode_answer, encode_job
from edgecnn.bench.plan import expected_seconds, make_plan, time_limit_seconds
from edgecnn.bench.provenance import make_provenance
from edgecnn.bench.stats import summarise
from edgecnn.bench.verdict import judge
from edgecnn.devices.detect import detect
from edgecnn.results import Metric, Plan, Quality, Record, Status, Subject
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement is.

    Attributes:
        elapsed_seconds: since the worker was started.
        expected_seconds: warm-up and sampling of a model that reaches its number of runs in time; the start of the
            worker and loading come on top, so this may be passed.
    """

    elapsed_seconds: float
    expected_seconds: float


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
        on_progress: called twice a second while the child works; what it does disturbs the measurement.
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
    options, plan = options or OpenOptions(), plan or make_plan()
    for spec in artifact.spec.inputs:
        fitted_shape(spec, batch=plan.batch)
    record = unmeasured(artifact, plan=plan, status="failed", reason="", root=root)
    ended = run_child(
        command or worker_command(),
        encode_job(Job(artifact=artifact, backend=backend, options=options, plan=plan, root=root)),
        limit_seconds=time_limit_seconds(plan, artifact.size_bytes),
        on_wait=_reporter(plan, on_progress) if on_progress else None,
    )
    try:
        return _measured(record, decode_answer(ended.output))
    except GarbledError as error:
        unread = not ended.timed_out and not ended.status and ended.output
        return replace(record, reason=f"the worker's answer cannot be read: {error}" if unread else ended.cause)


def unmeasured(artifact: Artifact, *, plan: Plan, status: Status, reason: str, root: Path = Path("/")) -> Record:
    """Return the record of a measurement that failed or was skipped: a line of its own in the results.

    Args:
        artifact: the model.
        plan: how it should have been measured.
        status: "failed" or "skipped".
        reason: why, in one line.
        root: folder that stands for "/" where /proc and /sys are read.
    """
    return Record(
        status=status,
        reason=reason,
        subject=make_subject(artifact, batch=plan.batch),
        runtime=None,
        device=detect(root),
        plan=plan,
        quality=Quality(),
        provenance=make_provenance(),
    )


def make_subject(artifact: Artifact, *, batch: int) -> Subject:
    """Return what a record says about the model that was measured with this batch."""
    spec = artifact.spec
    return Subject(
        network=spec.network,
        variant=spec.variant,
        precision=artifact.precision,
        batch=batch,
        input_shape=_input_shape(artifact, batch),
        file=artifact.path.name,
        sha256=artifact.sha256 or file_sha256(artifact.path),
        size_bytes=artifact.size_bytes,
        params=spec.params,
        macs=spec.macs,
        weights=spec.weights,
        accuracy=spec.accuracy,
        lineage=artifact.lineage,
    )


def metrics_of(outcome: Outcome, *, batch: int, seed: int) -> tuple[Metric, ...]:
    """Return the metrics of the module's table that the outcome has.

    Args:
        outcome: what the worker measured.
        batch: images per run.
        seed: of the bootstrap.
    """
    latency = summarise("latency", "ns", outcome.samples_ns, seed=seed)
    baseline, peak = outcome.memory_baseline_bytes, outcome.memory_peak_bytes
    added = None if baseline is None or peak is None else peak - baseline
    singles = (
        ("load", "ns", outcome.load_ns),
        ("first_run", "ns", outcome.first_run_ns),
        ("warmup", "runs", outcome.warmup_runs),
        ("memory_baseline", "bytes", baseline),
        ("memory_peak", "bytes", peak),
        ("memory_added", "bytes", added),
    )
    found = (summarise(name, unit, [value]) for name, unit, value in singles if value is not None)
    return (latency, throughput(latency, batch=batch), *found)


def throughput(latency: Metric, *, batch: int) -> Metric:
    """Return images per second as they follow from the latency, see the module's table.

    Args:
        latency: in nanoseconds per run.
        batch: images per run.
    """

    def rate(nanoseconds: float) -> float:
        return batch * 1e9 / max(nanoseconds, 1.0)

    return Metric(
        name="throughput",
        unit="images/s",
        samples=(),
        n=latency.n,
        min=rate(latency.max),
        median=rate(latency.median),
        p90=None,
        p99=None,
        max=rate(latency.min),
        mean=rate(latency.mean),
        ci95=None if latency.ci95 is None else (rate(latency.ci95[1]), rate(latency.ci95[0])),
    )


def _measured(record: Record, outcome: Outcome) -> Record:
    plan = replace(record.plan, clock=outcome.clock, clock_resolution_ns=outcome.clock_resolution_ns)
    metrics = metrics_of(outcome, batch=plan.batch, seed=plan.seed)
    evidence = Evidence(
        latency=metrics[0],
        plan=plan,
        before=outcome.before,
        after=outcome.after,
        info=outcome.info,
        device=record.device,
        activity=outcome.activity,
        emulated=outcome.emulated,
        precision=record.subject.precision,
    )
    return replace(
        record, status="ok", reason=None, runtime=outcome.info, plan=plan, metrics=metrics, quality=judge(evidence)
    )


def _input_shape(artifact: Artifact, batch: int) -> tuple[int, ...] | None:
    """Return the first input's shape as it is run, None when it cannot be run with this batch."""
    shape = artifact.spec.inputs[0].shape if artifact.spec.inputs else ()
    fixed = tuple(size for size in shape[1:] if isinstance(size, int))
    return (batch, *fixed) if shape and len(fixed) == len(shape) - 1 else None


def _reporter(plan: Plan, on_progress: Callable[[Progress], None]) -> Callable[[float], None]:
    expected = expected_seconds(plan)
    return lambda elapsed: on_progress(Progress(elapsed_seconds=elapsed, expected_seconds=expected))
