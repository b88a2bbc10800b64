"""What the measuring parent and its worker say to each other: one request a line, one answer a line, all JSON.

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
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.activity import Activity
from edgecnn.bench.memory import Phase
from edgecnn.devices.state import DeviceState
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError
from edgecnn.jsonform import from_json, to_json
from edgecnn.results import Plan, ScenarioFigures
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, EngineInfo

T = TypeVar("T")

# Durations travel as base64 of 64-bit integers: a million numbers as text would be memory that the engine is blamed for.
_WIRE_DTYPE = "<i8"


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
    """

    info: EngineInfo
    runs: int
    steady: bool
    reason: str
    median_ns: float
    memory: Phase | None
    pss_bytes: int | None


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
        activity: use of the processors meanwhile.
        memory: at its end, without the durations themselves.
        cgroup_peak_bytes: as `read_cgroup_peak` tells it, None where that was reached before the session was opened.
        gpu_reasons: why the GPU's clock was held back (NVML's bits), None where there is no such GPU.
    """

    durations: str
    begin_ns: int
    end_ns: int
    before: DeviceState
    after: DeviceState
    activity: Activity | None = None
    memory: Phase | None = None
    cgroup_peak_bytes: int | None = None
    gpu_reasons: int | None = None

    @property
    def samples_ns(self) -> NDArray[np.int64]:
        """Duration of each run, int64 [n], in order."""
        return decode_durations(self.durations)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioAsked:
    """A load pattern; the plan has the rest.

    Attributes:
        offline_samples: of the scenario "offline".
    """

    offline_samples: int


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
    return base64.b64encode(durations_ns.astype(_WIRE_DTYPE, copy=False).tobytes()).decode()


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


def encode_request(name: str, value: object = None) -> bytes:
    """Return the line of a request.

    Args:
        name: as in the module's table.
        value: the dataclass that goes with it.
    """
    return _line({name: to_json(value)})


def decode_request(line: bytes, kinds: Mapping[str, type[Any] | None]) -> tuple[str, Any]:
    """Return a request's name and value.

    Args:
        line: what was read.
        kinds: dataclass of each known request, None where nothing goes with it.

    Raises:
        BadInput: not a request.
    """
    try:
        ((name, data),) = json.loads(line).items()
    except (ValueError, AttributeError) as error:
        raise BadInput(f"the request on standard input is not JSON of one key: {error}") from None
    if name not in kinds:
        raise BadInput("request", expected=", ".join(kinds), got=str(name))
    kind = kinds[name]
    return name, None if kind is None else from_json(kind, data, where=name)


def encode_answer(name: str, value: object) -> bytes:
    """Return the line that answers a request of this name."""
    return _line({name: to_json(value)})


def encode_error(error: EdgecnnError) -> bytes:
    """Return the line that refuses a request."""
    data = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return _line({"error": data})


def decode_answer(line: bytes, name: str, kind: type[T]) -> T:
    """Return the answer to a request.

    Args:
        line: what was read.
        name: of the request.
        kind: dataclass of the answer.

    Raises:
        EdgecnnError: the worker's own error, of the same class.
        GarbledError: the line is neither such an answer nor an error.
    """
    try:
        data = json.loads(line)
        error = data.get("error")
        failure = None if error is None else _rebuild(error)
        answer = None if failure else from_json(kind, data[name], where=name)
    except (ValueError, KeyError, TypeError, AttributeError, BadInput) as problem:
        raise GarbledError(f"{type(problem).__name__}: {problem}") from None
    if failure is not None:
        raise failure
    assert answer is not None
    for block in (answer, getattr(answer, "block", None)):
        if isinstance(block, Block):
            decode_durations(block.durations)
    return answer


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _rebuild(data: dict[str, Any]) -> EdgecnnError:
    """Return an error of the class that has this name; constructors differ, so only the common part is set."""
    classes = {cls.__name__: cls for cls in _tree(EdgecnnError)}
    cls = classes.get(data["type"], MeasurementError)
    error = cls.__new__(cls)
    EdgecnnError.__init__(error, str(data["message"]), str(data["hint"]))
    return error


def _tree(cls: type[EdgecnnError]) -> Iterator[type[EdgecnnError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)
