"""What the measuring parent and its worker say to each other: one job in, one outcome or one error out, all JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgecnn.bench.activity import Activity
from edgecnn.devices.state import DeviceState
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError
from edgecnn.jsonform import from_json, to_json
from edgecnn.results import Plan
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker measures.

    Attributes:
        artifact: the model; its path is resolved in the worker's current folder.
        backend: name of the runtime.
        options: how the session is opened.
        plan: how it is measured.
        root: folder that stands for "/" where /proc and /sys are read.
    """

    artifact: Artifact
    backend: str
    options: OpenOptions
    plan: Plan
    root: Path = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker measured.

    Attributes:
        info: what ran the model.
        load_ns: opening the session: reading, checking and optimising the model; the engine was imported before.
        first_run_ns: the first run after loading.
        warmup_runs: runs between the first and sampling.
        samples_ns: duration of each run, in order.
        before: the machine when sampling began.
        after: the machine when sampling ended.
        activity: use of the processors while sampling.
        memory_baseline_bytes: resident before loading, with interpreter, numpy, engine and input arrays.
        memory_peak_bytes: greatest resident size from there to the last sample.
        clock: name of the clock.
        clock_resolution_ns: smallest step of the clock that was observed.
        emulated: the processor is emulated.
    """

    info: EngineInfo
    load_ns: int
    first_run_ns: int
    warmup_runs: int
    samples_ns: tuple[int, ...]
    before: DeviceState
    after: DeviceState
    activity: Activity | None
    memory_baseline_bytes: int | None
    memory_peak_bytes: int | None
    clock: str
    clock_resolution_ns: int | None
    emulated: bool


class GarbledError(Exception):
    """What came from a worker is no message; outside edgecnn's tree, because it never leaves this package."""


def encode_job(job: Job) -> bytes:
    """Return the message that starts a worker's work."""
    return json.dumps(to_json(job), allow_nan=False).encode()


def decode_job(message: bytes) -> Job:
    """Return the job of a message.

    Raises:
        BadInput: not a job.
    """
    try:
        data = json.loads(message)
    except ValueError as error:
        raise BadInput(f"the job on standard input is not JSON: {error}") from None
    return from_json(Job, data, where="job")


def encode_outcome(outcome: Outcome) -> bytes:
    """Return the message of a measurement that went well."""
    return json.dumps({"outcome": to_json(outcome)}, allow_nan=False, separators=(",", ":")).encode()


def encode_error(error: EdgecnnError) -> bytes:
    """Return the message of a measurement that was refused."""
    data = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return json.dumps({"error": data}).encode()


def decode_answer(message: bytes) -> Outcome:
    """Return the outcome of a worker's message.

    Raises:
        EdgecnnError: the worker's own error, of the same class.
        GarbledError: the message is neither an outcome nor an error.
    """
    try:
        data = json.loads(message)
        error = data.get("error")
        failure = None if error is None else _rebuild(error)
        outcome = None if failure else _read_outcome(data["outcome"])
    except (ValueError, KeyError, TypeError, AttributeError, BadInput) as problem:
        raise GarbledError(f"{type(problem).__name__}: {problem}") from None
    if failure is not None:
        raise failure
    assert outcome is not None
    return outcome


def _read_outcome(data: dict[str, Any]) -> Outcome:
    # A million samples one by one through the hints of the dataclass would take longer than to measure them.
    samples = data["samples_ns"]
    if not samples or set(map(type, samples)) != {int}:
        raise ValueError("samples_ns: expected whole numbers, at least one")
    return replace(from_json(Outcome, {**data, "samples_ns": []}, where="outcome"), samples_ns=tuple(samples))


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
