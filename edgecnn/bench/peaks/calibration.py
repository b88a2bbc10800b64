"""What a machine can do at most, as it was measured with the very engine, and where that is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from edgecnn.bench.peaks.roofline import Roof, bandwidth_at, rate_gops
from edgecnn.devices.detect import detect
from edgecnn.errors import BadInput, EdgecnnError
from edgecnn.files import cache_root, replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.results import ComputeShare, Device, Reason, Record, Verdict
from edgecnn.runtimes.threads import usable_threads

SCHEMA = "edgecnn.calibration/1"

Number = Literal["fp32", "bf16", "int8"]
"""What a layer computes with."""

ENGINES: Mapping[str, tuple[str, ...]] = {"cpu": ("onnxruntime", "onnxruntime-gpu"), "openvino": ("openvino",)}
"""Backend that can be calibrated -> the packages that may bring its engine."""

COMMAND = "edgecnn devices calibrate"

# What a record timed, where that is the network and nothing around it.
_ENGINE_ALONE = ("run", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of the machine.

    Attributes:
        value: median over the rounds; null where it was not measured.
        unit: "GFLOP/s", "GOP/s" or "GB/s", 10^9 each.
        spread: of the rounds, interquartile range over the median; null where it was not measured.
        rounds: value of each round, the best within it.
        kernel: what reached it: "conv3x3", "conv1x1", "matmul" or "copy+add".
        reason: why it was not measured; empty otherwise.
    """

    value: float | None
    unit: str
    spread: float | None = None
    rounds: tuple[float, ...] = ()
    kernel: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Memory bandwidth with a working set of one size.

    Attributes:
        size_bytes: of the working set, all threads together.
        limit: the measured bandwidth.
    """

    size_bytes: int
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The limits of one machine with one engine and number of threads.

    Attributes:
        schema: "edgecnn.calibration/1".
        backend: edgecnn's name of the backend.
        engine: "onnxruntime" for example.
        engine_version: of it.
        threads: of the engine, and that moved memory.
        device: the machine.
        peaks: by "fp32", "bf16" and "int8".
        bandwidths: ascending by size; the last one is DRAM.
        verdict: whether to believe it.
        reasons: what speaks against it.
        seconds: how long it took.
        time_utc: when it was measured, ISO 8601.
        edgecnn: version.
        remembered: it was measured by an earlier process.
    """

    schema: Literal["edgecnn.calibration/1"] = "edgecnn.calibration/1"
    backend: str
    engine: str
    engine_version: str
    threads: int
    device: Device
    peaks: Mapping[str, Limit]
    bandwidths: tuple[Bandwidth, ...]
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    seconds: float
    time_utc: str
    edgecnn: str
    remembered: bool = False

    def peak_gops(self, number: str) -> float | None:
        """Return the peak for a type of number, 10^9 operations per second; None where it was not measured."""
        limit = self.peaks.get(number)
        return limit.value if limit else None

    def bandwidth(self, size_bytes: int) -> tuple[int, float] | None:
        """Return (size, GB/s) of the measurement that holds for a working set, see `bandwidth_at`."""
        curve = [(one.size_bytes, one.limit.value) for one in self.bandwidths if one.limit.value]
        return bandwidth_at([(size, rate) for size, rate in curve if rate], size_bytes) if curve else None

    def roof(self, number: str, size_bytes: int) -> Roof | None:
        """Return the roofline for a type of number and a working set; None where one of the two was not measured."""
        peak, bandwidth = self.peak_gops(number), self.bandwidth(size_bytes)
        return None if peak is None or bandwidth is None else Roof(peak_gops=peak, bandwidth_gbps=bandwidth[1])


def compute_share(record: Record, calibration: Calibration | None) -> ComputeShare | None:
    """Return which share of this machine's peak a measured network reached; None where that cannot be told.

    That is 2 * macs * batch over the median latency, over the peak of the numbers that the file computes with.

    Args:
        record: of a measurement.
        calibration: of the machine; one of another processor, engine or number of threads says nothing about it.
    """
    latency, macs = record.metric("latency"), record.subject.macs
    if calibration is None or latency is None or macs is None or not _same_machine(record, calibration):
        return None
    peak = calibration.peak_gops(record.subject.precision)
    reached = rate_gops(macs * record.plan.batch, latency.median)
    if not peak or reached is None:
        return None
    return ComputeShare(
        reached_gops=reached,
        peak_gops=peak,
        peak_precision=record.subject.precision,
        share=reached / peak,
        peak_verdict=calibration.verdict,
        peak_time_utc=calibration.time_utc,
    )


def peak_text(record: Record, calibration: Calibration | None) -> str:
    """Return the cell of the bench table's column "% of peak": "41.5", or "-" where it cannot be told."""
    found = compute_share(record, calibration)
    return "-" if found is None else f"{100 * found.share:.1f}"


def calibrated(record: Record) -> tuple[str, int] | None:
    """Return backend and threads of the calibration that would tell a record's share; None where none ever does."""
    info = record.runtime
    if record.status != "ok" or record.subject.macs is None or info is None or info.threads is None:
        return None
    return (info.backend, info.threads) if info.backend in ENGINES else None


def with_compute(record: Record, *, root: Path = Path("/"), folder: Path | None = None) -> Record:
    """Return a record of this machine with its share of the peak, where an earlier process has measured the latter.

    Args:
        record: just measured.
        root: folder that stands for "/".
        folder: as for `find_calibration`.
    """
    key = calibrated(record)
    found = find_calibration(backend=key[0], threads=key[1], root=root, folder=folder) if key else None
    return replace(record, compute=compute_share(record, found))


def find_calibration(
    *, backend: str = "cpu", threads: int | None = None, root: Path = Path("/"), folder: Path | None = None
) -> Calibration | None:
    """Return what an earlier process measured on this machine; None where nobody has, or for another engine version.

    Args:
        backend: edgecnn's name.
        threads: of the engine; None takes as many as a session does.
        root: folder that stands for "/".
        folder: where calibrations are kept; None is `machine` in edgecnn's cache folder.
    """
    path = calibration_path(detect(root), backend=backend, threads=threads or usable_threads(root), folder=folder)
    try:
        found = from_json(Calibration, json.loads(path.read_bytes()), where=path.name, ignore_unknown=True)
    except (OSError, ValueError, BadInput):
        return None
    return from_json(Calibration, {**to_json(found), "remembered": True})


def keep_calibration(calibration: Calibration, *, folder: Path | None = None) -> None:
    """Keep a calibration for later processes; where nothing can be written, do nothing.

    Args:
        calibration: just measured.
        folder: as for `find_calibration`.
    """
    path = calibration_path(calibration.device, backend=calibration.backend, threads=calibration.threads, folder=folder)
    with suppress(EdgecnnError), replacing(path) as temporary:
        temporary.write_text(json.dumps(to_json(calibration), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def calibration_path(device: Device, *, backend: str, threads: int, folder: Path | None = None) -> Path:
    """Return the file of a machine's calibration: its name is a digest of all that the limits depend on.

    Args:
        device: the machine.
        backend: edgecnn's name.
        threads: of the engine.
        folder: as for `find_calibration`.
    """
    depends = {
        "schema": SCHEMA,
        "cpu": [device.cpu, device.arch, sorted(device.features), device.board, device.cores, device.cgroup_quota],
        "frequency": [device.governor, device.frequency_max_khz, device.power_mode],
        "backend": [backend, engine_version(backend), threads],
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    return (folder or cache_root() / "machine") / f"{backend}-{threads}-{digest}.json"


def engine_version(backend: str) -> str:
    """Return the installed version of a backend's engine; "" where it is not installed."""
    for name in ENGINES.get(backend, ()):
        with suppress(PackageNotFoundError):
            return version(name)
    return ""


def _same_machine(record: Record, calibration: Calibration) -> bool:
    info, device = record.runtime, calibration.device
    if record.plan.timed not in _ENGINE_ALONE or record.plan.scenario is not None:
        return False
    if info is None or (info.backend, info.threads) != (calibration.backend, calibration.threads):
        return False
    if not info.engine_version.startswith(calibration.engine_version):
        return False
    fields = ("cpu", "arch", "features", "board", "cores")
    return all(asdict(record.device)[name] == asdict(device)[name] for name in fields)
