"""What the measuring parent and its worker say to each other; `edgecnn.bench.wire` puts it into lines.

    load      Job        -> Loaded      open the session
    first     -          -> FirstRun    the first run, in which engines finish their set-up
    warm      WarmUp     -> Warmed      runs until they are steady
    block     BlockAsked -> Block       timed runs; asked for again and again
    scenario  ScenarioAsked -> ScenarioDone   a load pattern in the style of MLPerf
    run_memory - -> RunMemory           what one more run takes at a time; the job must be frugal
    power     PowerAsked -> Power       idle, runs, idle, with a sensor

Any answer may be an error instead. The worker ends when its standard input does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.activity import CpuUse
from edgecnn.bench.memory import Phase
from edgecnn.devices.state import DeviceState
from edgecnn.results import Plan, ScenarioFigures
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, EngineInfo

# Durations travel as base64 of 64-bit integers: a million numbers as text would be memory that the engine is blamed for.
_WIRE_DTYPE = "<i8"

_PIECE = 1536
# A multiple of three, so that the base64 of no piece but the last ends in padding.


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker measures.

    Attributes:
        artifact: the model; its path is resolved in the worker's current folder.
        backend: name of the runtime.
        options: how the session is opened.
        plan: how it is measured.
        root: folder that stands for "/" where /proc and /sys are read.
        power: sensor that is read in a phase of its own, as `--power` names it; None for none.
        memory: have a further process tell what a run takes at a time.
        frugal: free memory goes back to the kernel at once, for that process: exact, and too slow to time.
    """

    artifact: Artifact
    backend: str
    options: OpenOptions
    plan: Plan
    root: Path = Path("/")
    power: str | None = None
    memory: bool = False
    frugal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A session that is open.

    Attributes:
        load_ns: opening the session: reading, checking and optimising the model; the engine was imported before.
        baseline: memory before loading, with interpreter, numpy, engine and input arrays.
        memory: after loading.
        clock: name of the clock.
        clock_resolution_ns: smallest step of the clock that was observed.
        emulated: the processor is emulated.
    """

    load_ns: int
    baseline: Phase | None
    memory: Phase | None
    clock: str
    clock_resolution_ns: int | None
    emulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """The first run after loading.

    Attributes:
        first_run_ns: its duration.
        memory: after it.
    """

    first_run_ns: int
    memory: Phase | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMemory:
    """What a run takes.

    Attributes:
        added_bytes: most that it held beyond what lies there between runs; None where it cannot be told.
    """

    added_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """How long to warm up.

    Attributes:
        min_runs: at least, unless `max_seconds` comes first.
        min_seconds: at least.
        max_seconds: at most, steady or not.
    """

    min_runs: int
    min_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """A session that is warm.

    Attributes:
        info: what ran the model.
        runs: between the first and sampling.
        steady: whether the runs had become steady.
        reason: why, or why not.
        median_ns: of the runs that were last.
        memory: at the end.
        pss_bytes: proportional set size at the end, None where unknown.
        gpu_bytes: what the process holds on its GPU at the end, None where there is none or the driver does not tell.
    """

    info: EngineInfo
    runs: int
    steady: bool
    reason: str
    median_ns: float
    memory: Phase | None
    pss_bytes: int | None
    gpu_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockAsked:
    """A row of timed runs.

    Attributes:
        min_runs: at least, unless `max_seconds` comes first.
        min_seconds: at least.
        max_seconds: the run that crosses this is the last.
        settle_seconds: of runs before it that are not counted, after another process has used the caches.
    """

    min_runs: int
    min_seconds: float
    max_seconds: float
    settle_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A row of timed runs, and the machine around it.

    Attributes:
        durations: of each run in order, as `encode_durations` writes them.
        begin_ns: when it began, by a clock that all processes of this machine share.
        end_ns: when it ended.
        before: the machine when it began.
        after: the machine when it ended.
        use: of the processors meanwhile.
        memory: at its end, without the durations themselves.
        cgroup_peak_bytes: as `read_cgroup_peak` tells it, None where that was reached before the session was opened.
        gpu_reasons: why the GPU's clock was held back (NVML's bits), None where there is no such GPU.
    """

    durations: str
    begin_ns: int
    end_ns: int
    before: DeviceState
    after: DeviceState
    use: CpuUse | None = None
    memory: Phase | None = None
    cgroup_peak_bytes: int | None = None
    gpu_reasons: int | None = None

    @property
    def samples_ns(self) -> NDArray[np.int64]:
        """Duration of each run, int64 [n], in order."""
        return decode_durations(self.durations)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timed:
    """A block where it was measured: encoded, a long row would be memory that the engine is blamed for.

    Attributes:
        block: without its durations.
        samples_ns: duration of each run, int64 [n], in order.
    """

    block: Block
    samples_ns: NDArray[np.int64]

    def whole(self) -> Block:
        """Return the block with its durations."""
        return replace(self.block, durations=encode_durations(self.samples_ns))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioAsked:
    """A load pattern; the plan has the rest.

    Attributes:
        run_ns: of a whole batch, as the warm-up saw it.
    """

    run_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioDone:
    """A load pattern that has ended.

    Attributes:
        figures: for the record.
        block: latencies of the queries, and the machine around them.
    """

    figures: ScenarioFigures
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerAsked:
    """A measurement of power.

    Attributes:
        meter: as `edgecnn.devices.sensors.catalog.meter_from` takes it.
        seconds: of the window, None for what the meter needs.
    """

    meter: str
    seconds: float | None = None


class GarbledError(Exception):
    """What came from a worker is no message; outside edgecnn's tree, because it never leaves this package."""


def encode_durations(durations_ns: NDArray[np.int64]) -> str:
    """Return durations as base64 of little-endian 64-bit integers."""
    return b"".join(encode_in_pieces(durations_ns)).decode()


def encode_in_pieces(durations_ns: NDArray[np.int64]) -> Iterator[bytes]:
    """Yield the same piece by piece: however long the row, it takes some kilobytes."""
    for start in range(0, durations_ns.size, _PIECE):
        yield base64.b64encode(durations_ns[start : start + _PIECE].astype(_WIRE_DTYPE, copy=False).tobytes())


def decode_durations(text: str) -> NDArray[np.int64]:
    """Return int64 [n] of what `encode_durations` wrote.

    Raises:
        GarbledError: it did not write this, or there is no duration in it.
    """
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), _WIRE_DTYPE)
    except (binascii.Error, ValueError) as error:
        raise GarbledError(f"durations: {error}") from None
    if not values.size or values.min() < 0:
        raise GarbledError("durations: expected at least one, none below 0")
    return values.astype(np.int64)
