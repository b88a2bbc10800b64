from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import errors
from edgecnn.bench.activity import Activity
from edgecnn.bench.job import (
    GarbledError,
    Job,
    Outcome,
    decode_answer,
    decode_job,
    encode_error,
    encode_job,
    encode_outcome,
)
from edgecnn.bench.plan import make_plan
from edgecnn.devices.state import DeviceState
from edgecnn.errors import BadInput, EdgecnnError, InferenceError, MissingDependency, ParityError, UnknownName
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, EngineInfo, ModelSpec, Step, TensorSpec

JOB = Job(
    artifact=Artifact(
        path=Path("models/a b.onnx"),
        format="onnx",
        precision="int8",
        sha256="00ff",
        size_bytes=123,
        spec=ModelSpec(
            network="n",
            inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
            outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
        ),
        lineage=(Step(tool="t", version="1", options={"width": 0.25}),),
    ),
    backend="null",
    options=OpenOptions(threads=2, engine={"delay_us": 300}),
    plan=make_plan(batch=4, seconds=0.5),
    root=Path("/tree"),
)
OUTCOME = Outcome(
    info=EngineInfo(backend="null", engine="null", engine_version="1"),
    load_ns=5,
    first_run_ns=6,
    warmup_runs=7,
    samples_ns=(1, 2, 3),
    before=DeviceState(load_average=0.5),
    after=DeviceState(temperature_c=40.5, pi_throttled=0),
    activity=Activity(seconds=1.0, own_cores=1.0),
    memory_baseline_bytes=100,
    memory_peak_bytes=None,
    clock="perf_counter_ns",
    clock_resolution_ns=40,
    emulated=False,
)


def test_a_job_survives_the_trip() -> None:
    message = encode_job(JOB)
    assert message.isascii()
    assert decode_job(message) == JOB


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"{}", b'{"artifact": 3}', b"\xff\xfe"])
def test_what_is_no_job_is_bad_input(message: bytes) -> None:
    with pytest.raises(BadInput, match="job"):
        decode_job(message)


@given(st.lists(st.integers(0, 2**62), min_size=1), st.none() | st.integers(0, 2**40))
def test_an_outcome_survives_the_trip(samples: list[int], peak: int | None) -> None:
    outcome = replace(OUTCOME, samples_ns=tuple(samples), memory_peak_bytes=peak)
    assert decode_answer(encode_outcome(outcome)) == outcome


def _error_classes(cls: type[EdgecnnError] = EdgecnnError) -> list[type[EdgecnnError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _error_classes(child))]


@pytest.mark.parametrize("cls", [cls for cls in _error_classes() if cls.__module__ == errors.__name__])
def test_every_error_of_the_tree_is_raised_again_as_itself(cls: type[EdgecnnError]) -> None:
    error = cls.__new__(cls)
    EdgecnnError.__init__(error, "what happened: é", "what to do")
    with pytest.raises(EdgecnnError) as caught:
        decode_answer(encode_error(error))
    assert type(caught.value) is cls
    assert (caught.value.message, caught.value.hint) == ("what happened: é", "what to do")
    assert caught.value.exit_code == cls.exit_code


@pytest.mark.parametrize(
    "error",
    [
        UnknownName("backend", "cpuu", ["cpu", "null"]),
        MissingDependency("onnxruntime", "cpu", "backend cpu"),
        ParityError("a and b", max_abs=1.0, tolerance=0.1, worst="y"),
        BadInput("x", "hint", expected="a", got="b"),
        InferenceError("engine failed"),
    ],
)
def test_texts_stay_what_the_constructor_made_of_them(error: EdgecnnError) -> None:
    with pytest.raises(type(error)) as caught:
        decode_answer(encode_error(error))
    assert str(caught.value) == str(error)


def test_an_error_of_another_package_keeps_its_text() -> None:
    class ForeignError(EdgecnnError):
        pass

    message = encode_error(ForeignError("foreign text")).replace(b"ForeignError", b"UnheardOf")
    with pytest.raises(EdgecnnError, match="foreign text"):
        decode_answer(message)


def _changed(**values: Any) -> bytes:
    data = json.loads(encode_outcome(OUTCOME))
    data["outcome"].update(values)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"{}",
        b"Loading model...",
        encode_outcome(OUTCOME)[:-20],
        b"noise\n" + encode_outcome(OUTCOME),
        b'{"outcome": {}}',
        b'{"error": {}}',
        b'{"error": "text"}',
        _changed(samples_ns=[]),
        _changed(samples_ns=None),
        _changed(samples_ns=[1, "2"]),
        _changed(samples_ns=[1, 2.5]),
        _changed(load_ns="soon"),
        _changed(stranger=1),
    ],
)
def test_garbage_is_told_from_an_answer(message: bytes) -> None:
    with pytest.raises(GarbledError):
        decode_answer(message)
