"""Measuring the limits of this machine in a child process (`edgecnn.bench.peaks.limits`), and what came of its rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import edgecnn
from edgecnn.bench.onejob import ask
from edgecnn.bench.peaks.calibration import ENGINES, Bandwidth, Calibration, Limit
from edgecnn.bench.peaks.doubts import doubts, worst
from edgecnn.bench.peaks.limits import ROUNDS, CalibrationJob, RawCalibration
from edgecnn.devices.detect import detect
from edgecnn.errors import Contradiction
from edgecnn.results import Device
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.threads import usable_threads
from edgecnn.units import binary_bytes_text

# Rounds of a processor with the speed of one slow core of a board, an interpreter from a cold SD card, twice.
_LIMIT_SECONDS = 600.0


def calibrate(
    *,
    backend: str = "cpu",
    threads: int | None = None,
    rounds: int = ROUNDS,
    on_progress: Callable[[float], None] | None = None,
    root: Path = Path("/"),
) -> Calibration:
    """Return the limits of this machine, measured now in a child process.

    Args:
        backend: "cpu" or "openvino".
        threads: of the engine; None takes as many as a session does.
        rounds: turns of every kernel.
        on_progress: called twice a second with the seconds since the start; what it does disturbs the measurement.
        root: folder that stands for "/" where /proc and /sys are read.

    Raises:
        Contradiction: a backend that cannot be calibrated.
        RuntimeUnavailable, MissingDependency: the backend cannot run here.
        MeasurementError: the child died.
    """
    check_calibrated(backend)
    count = threads or usable_threads(root)
    began, begin_ns = datetime.now(timezone.utc), time.perf_counter_ns()
    raw = ask(
        "edgecnn.bench.peaks.limits",
        "calibrate",
        CalibrationJob(backend=backend, threads=count, rounds=rounds, root=root),
        RawCalibration,
        limit_seconds=_LIMIT_SECONDS,
        on_wait=on_progress,
    )
    seconds = (time.perf_counter_ns() - begin_ns) / 1e9
    return summarised(raw, detect(root), threads=count, seconds=seconds, time_utc=began.isoformat(timespec="seconds"))


def check_calibrated(backend: str) -> None:
    """Return if a backend's limits can be measured here.

    Raises:
        UnknownName: no such backend.
        Contradiction: they cannot be measured.
        RuntimeUnavailable, MissingDependency: it cannot run here.
    """
    runtime = get_runtime(backend)
    if backend not in ENGINES:
        raise Contradiction(f"backend {backend} cannot be calibrated", f"those that can: {', '.join(ENGINES)}")
    runtime.check()


def summarised(raw: RawCalibration, device: Device, *, threads: int, seconds: float, time_utc: str) -> Calibration:
    """Return the calibration of what a child measured.

    Args:
        raw: its answer.
        device: the machine.
        threads: of the engine.
        seconds: how long it took.
        time_utc: when it began.
    """
    peaks = {number: _best(kernels, number) for number, kernels in raw.peaks.items()}
    peaks |= {number: Limit(value=None, unit=_unit(number), reason=why) for number, why in raw.missing.items()}
    ordered = sorted((int(size), rates) for size, rates in raw.bandwidths.items())
    bandwidths = tuple(
        Bandwidth(size_bytes=size, limit=_limit(rates, "GB/s", kernel="copy+add")) for size, rates in ordered
    )
    reasons = doubts(
        {**peaks, **{f"bandwidth, {binary_bytes_text(one.size_bytes)}": one.limit for one in bandwidths}},
        before=raw.before,
        after=raw.after,
        activity=raw.activity,
        cores=device.cores_usable or device.cores or threads,
        emulated=raw.emulated,
    )
    return Calibration(
        backend=raw.info.backend,
        engine=raw.info.engine,
        engine_version=raw.info.engine_version,
        threads=threads,
        device=device,
        peaks=peaks,
        bandwidths=bandwidths,
        verdict=worst(reasons),
        reasons=reasons,
        seconds=seconds,
        time_utc=time_utc,
        edgecnn=edgecnn.__version__,
    )


def _best(kernels: Mapping[str, Sequence[float]], number: str) -> Limit:
    """Return the peak: that of the kernel with the greatest median."""
    name = max(kernels, key=lambda one: float(np.median(kernels[one])))
    return _limit(kernels[name], _unit(number), kernel=name)


def _limit(rounds: Sequence[float], unit: str, *, kernel: str) -> Limit:
    low, middle, high = (float(value) for value in np.percentile(rounds, [25, 50, 75]))
    return Limit(value=middle, unit=unit, spread=(high - low) / middle, rounds=tuple(rounds), kernel=kernel)


def _unit(number: str) -> str:
    return "GOP/s" if number == "int8" else "GFLOP/s"
