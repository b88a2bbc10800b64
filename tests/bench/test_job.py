from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import errors
from edgecnn.bench.activity import CpuUse
from edgecnn.bench.job import (
    Block,
    BlockAsked,
    GarbledError,
    Job,
    Loaded,
    Timed,
    decode_durations,
    encode_durations,
)
from edgecnn.bench.memory import Phase
from edgecnn.bench.plan import make_plan
from edgecnn.bench.wire import (
    decode_answer,
    decode_request,
    encode_answer,
    encode_error,
    encode_pieces,
    encode_request,
)
from edgecnn.devices.state import DeviceState
from edgecnn.errors import BadInput, EdgecnnError, InferenceError, MissingDependency, ParityError, UnknownName
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, Step, TensorSpec

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
BLOCK = Block(
    durations=encode_durations(np.array([1, 2, 3])),
    begin_ns=5,
    end_ns=11,
    before=DeviceState(load_average=0.5),
    after=DeviceState(temperature_c=40.5, pi_throttled=0),
    use=CpuUse(elapsed_ns=6, own_ns=3),
    memory=Phase(resident_bytes=100, peak_bytes=None),
)
KINDS: dict[str, type[Any] | None] = {"load": Job, "first": None, "block": BlockAsked}


def test_a_long_row_travels_in_pieces_and_arrives_whole() -> None:
    samples = np.arange(1, 10_001, dtype=np.int64)
    pieces = list(encode_pieces("block", Timed(block=replace(BLOCK, durations=""), samples_ns=samples)))
    assert max(map(len, pieces)) < 32_000
    assert b"".join(pieces) == encode_answer("block", replace(BLOCK, durations=encode_durations(samples)))
    assert decode_answer(b"".join(pieces), "block", Block).samples_ns.tolist() == samples.tolist()


def test_a_job_survives_the_trip() -> None:
    line = encode_request("load", JOB)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode_request(line, KINDS) == ("load", JOB)


def test_a_request_without_a_value_is_its_name() -> None:
    assert decode_request(encode_request("first"), KINDS) == ("first", None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"block": 3}',
        b"\xff\xfe",
        b'{"jump": {}}',
        b'{"first": 1, "load": 2}',
        b'{"load": {}}',
    ],
)
def test_what_is_no_request_is_bad_input(line: bytes) -> None:
    with pytest.raises(BadInput):
        decode_request(line, KINDS)


@given(st.lists(st.integers(0, 2**62), min_size=1), st.none() | st.integers(0, 2**40))
def test_a_block_survives_the_trip(samples: list[int], peak: int | None) -> None:
    memory = Phase(resident_bytes=7, peak_bytes=peak, file_bytes=3)
    block = replace(BLOCK, durations=encode_durations(np.array(samples, np.int64)), memory=memory)
    again = decode_answer(encode_answer("block", block), "block", Block)
    assert again == block
    assert again.samples_ns.tolist() == samples


@pytest.mark.parametrize("text", ["", "AAA", "é", "AQAAAAAAAA==", encode_durations(np.array([-1]))])
def test_durations_that_are_none_are_told(text: str) -> None:
    with pytest.raises(GarbledError, match="durations"):
        decode_durations(text)


def _error_classes(cls: type[EdgecnnError] = EdgecnnError) -> list[type[EdgecnnError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _error_classes(child))]


@pytest.mark.parametrize("cls", [cls for cls in _error_classes() if cls.__module__ == errors.__name__])
def test_every_error_of_the_tree_is_raised_again_as_itself(cls: type[EdgecnnError]) -> None:
    error = cls.__new__(cls)
    EdgecnnError.__init__(error, "what happened: é", "what to do")
    with pytest.raises(EdgecnnError) as caught:
        decode_answer(encode_error(error), "load", Loaded)
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
        decode_answer(encode_error(error), "load", Loaded)
    assert str(caught.value) == str(error)


def test_an_error_of_another_package_keeps_its_text() -> None:
    class ForeignError(EdgecnnError):
        pass

    message = encode_error(ForeignError("foreign text")).replace(b"ForeignError", b"UnheardOf")
    with pytest.raises(EdgecnnError, match="foreign text"):
        decode_answer(message, "load", Loaded)


def _changed(**values: Any) -> bytes:
    data = json.loads(encode_answer("block", BLOCK))
    data["block"].update(values)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"{}",
        b"Loading model...",
        encode_answer("block", BLOCK)[:-20],
        b"noise\n" + encode_answer("block", BLOCK),
        encode_answer("first", BLOCK),
        b'{"block": {}}',
        b'{"error": {}}',
        b'{"error": "text"}',
        _changed(durations=""),
        _changed(durations=None),
        _changed(durations="soon"),
        _changed(begin_ns="soon"),
        _changed(stranger=1),
    ],
)
def test_garbage_is_told_from_an_answer(line: bytes) -> None:
    with pytest.raises(GarbledError):
        decode_answer(line, "block", Block)
