"""The profile of one model: each layer's time, work, traffic, and share of what this machine could do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from edgecnn.bench.onejob import ask
from edgecnn.bench.peaks.calibration import COMMAND, ENGINES, Calibration, find_calibration
from edgecnn.bench.provenance import make_provenance
from edgecnn.bench.subjects import make_subject
from edgecnn.devices.detect import detect
from edgecnn.errors import BadInput
from edgecnn.profiling.layers import Analysed, analyse, layers_of_run
from edgecnn.profiling.matching import match
from edgecnn.profiling.timers import check_timer
from edgecnn.profiling.values import LayerProfile, Profile
from edgecnn.profiling.worker import ProfileJob, RawProfile
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, EngineInfo

SECONDS = 2.0
"""Of plain and profiled runs together."""

_LONGEST_SECONDS = 3600.0

# An interpreter and an engine from a cold SD card, two sessions of a model that is read at 5 MB/s and optimised, the profiler's
# file, and a network of which one run takes longer than all that was asked for.
_START_SECONDS, _READ_BYTES_PER_SECOND = 600.0, 5e6

_HIGH_OVERHEAD = 1.25
_WIDE_SPREAD = 0.10
_STEPS = 5


def profile_model(
    artifact: Artifact,
    *,
    backend: str = "cpu",
    options: OpenOptions | None = None,
    batch: int = 1,
    seconds: float = SECONDS,
    calibration: Calibration | None = None,
    on_progress: Callable[[float], None] | None = None,
    root: Path = Path("/"),
) -> Profile:
    """Return the profile of a model, measured now in a child process.

    Args:
        artifact: the model.
        backend: one whose layers can be timed.
        options: how the sessions are opened.
        batch: images per run.
        seconds: of plain and profiled runs together, about.
        calibration: the machine's limits; None looks for those that an earlier process measured.
        on_progress: called twice a second with the seconds since the start; what it does disturbs the measurement.
        root: folder that stands for "/" where /proc and /sys are read.

    Raises:
        Contradiction: the backend does not tell the time of layers.
        BadInput: the model cannot be run with this batch, or the engine does not read it.
        MeasurementError: the child died.
        EdgecnnError: any other error of edgecnn in the child, of the same class.
    """
    check_request(backend, seconds=seconds)
    options = options or OpenOptions()
    analysed = analyse(artifact, batch=batch)
    raw = ask(
        "edgecnn.profiling.worker",
        "profile",
        ProfileJob(
            artifact=artifact,
            backend=backend,
            options=options,
            batch=batch,
            seconds=seconds,
            nodes=len(analysed.graph.nodes),
        ),
        RawProfile,
        limit_seconds=_limit_seconds(artifact, seconds),
        on_wait=on_progress,
    )
    found = calibration or find_calibration(backend=backend, threads=raw.info.threads, root=root)
    return assemble(raw, artifact, analysed, batch=batch, calibration=found, root=root)


def check_request(backend: str, *, seconds: float = SECONDS) -> None:
    """Return if a backend's layers can be timed here for so long.

    Raises:
        UnknownName: no such backend.
        Contradiction: it does not tell the time of layers.
        MissingDependency, RuntimeUnavailable: it cannot run here.
        BadInput: the seconds are none.
    """
    runtime = get_runtime(backend)
    check_timer(backend)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise BadInput("seconds", expected=f"above 0, at most {_LONGEST_SECONDS:g}", got=f"{seconds:g}")
    runtime.check()


def _limit_seconds(artifact: Artifact, seconds: float) -> float:
    return _START_SECONDS + 2 * artifact.size_bytes / _READ_BYTES_PER_SECOND + 10 * seconds


def assemble(
    raw: RawProfile,
    artifact: Artifact,
    analysed: Analysed,
    *,
    batch: int,
    calibration: Calibration | None,
    root: Path = Path("/"),
) -> Profile:
    """Return the profile of what a child measured.

    Args:
        raw: its answer.
        artifact: the model.
        analysed: of the same model and batch.
        batch: images per run.
        calibration: the machine's limits.
        root: folder that stands for "/" where /proc and /sys are read.
    """
    total_ns = float(np.median(raw.plain_ns))
    matched = match(analysed.graph, raw.nodes)
    layers = layers_of_run(raw, matched.groups, analysed, total_ns, calibration)
    size = analysed.working_set_bytes
    bandwidth = calibration.bandwidth(size) if calibration and size is not None else None
    low, high = np.percentile(raw.plain_ns, [25, 75])
    overhead = float(np.median(raw.profiled_ns)) / total_ns
    return Profile(
        subject=make_subject(artifact, batch=batch),
        runtime=raw.info,
        device=detect(root),
        batch=batch,
        runs=len(raw.plain_ns),
        total_ns=total_ns,
        total_spread=float(high - low) / total_ns,
        overhead=overhead,
        resolution_ns=raw.resolution_ns,
        layers=layers,
        providers=dict(Counter(node.provider for node in raw.nodes)),
        unmapped=tuple(f"{node.name} ({node.op_type})" for node in matched.unmapped),
        macs=analysed.costs.of(analysed.graph.nodes).macs,
        calibration=calibration,
        no_roofline=_no_roofline(raw.info, calibration),
        working_set_bytes=size,
        bandwidth_gbps=bandwidth[1] if bandwidth else None,
        bandwidth_size_bytes=bandwidth[0] if bandwidth else None,
        notes=tuple(_notes(raw, layers, overhead, float(high - low) / total_ns, total_ns)),
        provenance=make_provenance(),
    )


def _no_roofline(info: EngineInfo, calibration: Calibration | None) -> str:
    if calibration is not None:
        return ""
    if info.backend not in ENGINES:
        return f"the limits of backend {info.backend} are not measured"
    threads = f" --threads {info.threads}" if info.threads is not None else ""
    backend = "" if info.backend == "cpu" else f" --backend {info.backend}"
    return f"this machine is not calibrated for {info.backend} with {info.threads} threads: {COMMAND}{backend}{threads}"


def _notes(
    raw: RawProfile, layers: Iterable[LayerProfile], overhead: float, spread: float, total_ns: float
) -> Iterator[str]:
    if overhead > _HIGH_OVERHEAD:
        yield (
            f"profiling made a run {overhead:.2f} times as long: shares of short layers are rough, "
            "a larger --batch makes them better known"
        )
    if spread > _WIDE_SPREAD:
        yield f"the middle half of the runs spreads over {spread:.0%} of the median: stop other processes and profile again"
    short = sum(node.time_ns < _STEPS * raw.resolution_ns for node in raw.nodes)
    if short:
        yield (
            f"{short} of {len(raw.nodes)} engine nodes take less than {_STEPS} steps of the profiler's clock "
            f"({raw.resolution_ns} ns each): their shares are rough"
        )
    above = sum(1 for layer in layers if layer.roof_share is not None and layer.roof_share > 1)
    if above:
        yield f"{above} layers are faster than the roofline: their data stays in a nearer cache than the network's as a whole"
