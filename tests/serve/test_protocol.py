"""Tensors <-> bytes of the Open Inference Protocol."""

from __future__ import annotations

import json
import math
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgecnn.errors import BadInput
from edgecnn.runtimes.base import Array
from edgecnn.serve.protocol import DATATYPES, check_datatypes, parse_request, render_answer, tensor_metadata
from edgecnn.specs import TensorSpec

ARRAYS = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: hnp.arrays(
        name,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements=hnp.from_dtype(np.dtype(name), allow_nan=False, allow_infinity=False),
    )
)
ANY_ARRAYS = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: hnp.arrays(name, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
)


def tensor(name: str, array: Array, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape), **more}


def body(inputs: list[dict[str, Any]], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def same(one: Array, other: Array) -> None:
    assert one.dtype == other.dtype
    assert one.dtype.isnative
    assert one.flags.aligned
    np.testing.assert_array_equal(one, other)


@given(array=ARRAYS, flat=st.booleans())
def test_json_tensors_arrive_as_they_were(array: Array, flat: bool) -> None:
    data = (array.reshape(-1) if flat else array).tolist()
    request = parse_request(body([tensor("x", array, data=data)], id="7"), None)
    same(request.feeds["x"], array)
    assert (request.id, request.outputs, request.binary, request.timeout_s) == ("7", None, False, None)


@given(arrays=st.lists(ANY_ARRAYS, min_size=1, max_size=3), spaces=st.integers(0, 7))
def test_binary_tensors_arrive_as_they_were_wherever_they_lie(arrays: list[Array], spaces: int) -> None:
    inputs = [tensor(f"x{i}", array, parameters={"binary_data_size": array.nbytes}) for i, array in enumerate(arrays)]
    head = body(inputs, parameters={"binary_data_output": True, "timeout": 1500}) + b" " * spaces
    request = parse_request(head + b"".join(array.tobytes() for array in arrays), len(head))
    for i, array in enumerate(arrays):
        same(request.feeds[f"x{i}"], array)
    assert request.binary
    assert request.timeout_s == 0.0015


@given(arrays=st.lists(ANY_ARRAYS, min_size=1, max_size=3), binary=st.lists(st.booleans(), min_size=3, max_size=3))
def test_answers_can_be_read_back(arrays: list[Array], binary: list[bool]) -> None:
    outputs = {f"y{i}": array for i, array in enumerate(arrays)}
    wanted = [{"name": name, "parameters": {"binary_data": one}} for name, one in zip(outputs, binary, strict=False)]
    request = parse_request(body([], outputs=wanted[::-1], id="a"), None)
    answer, length = render_answer(request, outputs, model="m", version="1")
    head = json.loads(answer[:length])
    assert (head["model_name"], head["model_version"], head["id"]) == ("m", "1", "a")
    assert [one["name"] for one in head["outputs"]] == [*outputs][::-1]
    position = length or len(answer)
    for one in head["outputs"]:
        array = outputs[one["name"]]
        assert (one["datatype"], one["shape"]) == (DATATYPES[array.dtype.name], list(array.shape))
        if "data" in one:
            plain = [math.nan if value is None else value for value in one["data"]]
            finite = np.where(np.isfinite(array), array, np.nan) if array.dtype.kind == "f" else array
            np.testing.assert_array_equal(np.array(plain, array.dtype).reshape(array.shape), finite)
        else:
            size = one["parameters"]["binary_data_size"]
            same(np.frombuffer(answer[position : position + size], array.dtype).reshape(array.shape).copy(), array)
            position += size
    assert position == len(answer)
    assert (length is None) == (not any(binary[: len(arrays)]))


def test_all_outputs_are_wanted_where_none_is_named() -> None:
    for data, is_binary in (
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": []}, False),
    ):
        request = parse_request(body([], **data), None)
        answer, length = render_answer(request, {"a": np.zeros(1), "b": np.zeros(2)}, model="m", version="1")
        assert [one["name"] for one in json.loads(answer[:length])["outputs"]] == ["a", "b"]
        assert (length is not None) == is_binary
        assert "id" not in json.loads(answer[:length])


def test_an_unknown_output_is_refused() -> None:
    request = parse_request(body([], outputs=[{"name": "z"}]), None)
    with pytest.raises(BadInput, match="outputs: expected a, b, got z"):
        render_answer(request, {"a": np.zeros(1), "b": np.zeros(1)}, model="m", version="1")


def test_one_long_text_among_many_does_not_take_memory() -> None:
    """numpy would make each of them as long as the longest, 8 GB here."""
    data = ["a" * 1_000_000] + ["b"] * 2000
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match="got a string"):
            parse_request(json.dumps({"inputs": [{**GOOD, "data": data}]}).encode(), None)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_whole_numbers_of_64_bits_stay_what_they_are() -> None:
    values = [(1 << 64) - 1, 3, (1 << 53) + 1]
    tensor = {"name": "x", "datatype": "UINT64", "shape": [3], "data": values}
    feeds = parse_request(json.dumps({"inputs": [tensor]}).encode(), None).feeds
    assert feeds["x"].dtype == np.uint64
    assert feeds["x"].tolist() == values


GOOD = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}
BINARY = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": 1}, "name: expected a string, got a number"),
        ({"datatype": "FP31"}, "datatype: expected one of BOOL"),
        ({"datatype": None}, "datatype: expected a string, got nothing"),
        ({"datatype": "BYTES"}, "datatype: expected one of BOOL"),
        ({"shape": 2}, "shape: expected a list of whole numbers of at least 1, got a number"),
        ({"shape": [0, 1 << 62, 1 << 62], "data": []}, "at least 1, got [0, 4611686018427387904"),
        ({"shape": [-2]}, "shape: expected a list"),
        ({"shape": [True]}, "shape: expected a list"),
        ({"shape": [2.0]}, "shape: expected a list"),
        ({"shape": [1] * 33}, "at most 32 dimensions"),
        ({"shape": [1 << 62, 1 << 62]}, "values for shape"),
        ({"shape": [3]}, "expected 3 values for shape"),
        ({"data": [[1], [2, 3]]}, "without ragged rows"),
        ({"data": ["1", "2"]}, "expected values of FP32, got a string"),
        ({"data": [None, 1]}, "got nothing"),
        ({"data": [[], []]}, "expected data, got an empty list"),
        ({"data": [1, [2]]}, "expected values of FP32, got a list"),
        ({"data": [[1], 2]}, "without ragged rows"),
        ({"data": [10**400, 1]}, "in the range of FP32"),
        ({"datatype": "INT32", "data": [True, 1]}, "expected values of INT32, got true or false"),
        ({"data": {"a": 1}}, "expected values of FP32"),
        ({"data": [1e300, 1]}, "in the range of FP32"),
        ({"datatype": "UINT8", "data": [256, 0]}, "in the range of UINT8"),
        ({"datatype": "UINT8", "data": [-1, 0]}, "in the range of UINT8"),
        ({"datatype": "INT64", "data": [1 << 80, 0]}, "in the range of INT64"),
        ({"datatype": "INT8", "data": [1.5, 0]}, "expected values of INT8"),
        ({"datatype": "BOOL", "data": [1, 0]}, "expected values of BOOL"),
        ({"parameters": {"binary_data_size": 8}}, "either data or"),
        ({"parameters": {"shared_memory_region": "a"}}, "does not know the parameter shared_memory_region"),
        ({"parameters": []}, "parameters: expected an object, got a list"),
    ],
)
def test_bad_json_tensors(change: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_request(body([{**GOOD, **change}]), None)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("size", "shape", "data", "text"),
    [
        (8, [2], b"1234567", "expected 8 bytes of binary data, got 7"),
        (8, [2], b"123456789", "binary data behind the JSON object: expected 8 bytes, got 9 (the sum"),
        (9, [2], b"123456789", "expected 8 bytes for shape [2], got 9"),
        (-8, [2], b"", "expected 8 bytes for shape"),
        (True, [2], b"", "expected 8 bytes for shape"),
        ("8", [2], b"12345678", "expected 8 bytes for shape"),
        (None, [2], b"12345678", "either data or"),
        (0, [1 << 62], b"", "bytes for shape"),
    ],
)
def test_bad_binary_tensors(size: Any, shape: list[int], data: bytes, text: str) -> None:
    head = body([{**BINARY, "shape": shape, "parameters": {"binary_data_size": size}}])
    with pytest.raises(BadInput) as caught:
        parse_request(head + data, len(head))
    assert text in str(caught.value)


def test_a_bool_is_one_byte_of_0_or_1() -> None:
    head = body([{**BINARY, "datatype": "BOOL", "parameters": {"binary_data_size": 2}}])
    assert parse_request(head + b"\1\0", len(head)).feeds["x"].tolist() == [True, False]
    with pytest.raises(BadInput, match="bytes 0 and 1"):
        parse_request(head + b"\2\0", len(head))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b"\xff\xfe",
        b"{}",
        b"[" * 100_000,
        b'{"inputs": 1}',
        b'{"inputs": [1]}',
        b'{"inputs": [], "id": 1}',
        b'{"inputs": [], "parameters": 1}',
        b'{"inputs": [], "parameters": {"binary_data_output": 1}}',
        b'{"inputs": [], "parameters": {"timeout": -1}}',
        b'{"inputs": [], "parameters": {"timeout": "1"}}',
        b'{"inputs": [], "outputs": {"a": 1}}',
        b'{"inputs": [], "outputs": [{"name": "a"}, {"name": "a"}]}',
        b'{"inputs": [], "outputs": [{"name": "a", "parameters": {"classification": 3}}]}',
        json.dumps({"inputs": [GOOD, GOOD]}).encode(),
        json.dumps({"inputs": [{**GOOD, "data": [math.nan, 1]}]}).encode(),
        json.dumps({"inputs": [GOOD]}).replace("[1, 2]", "[1e999, 1]").encode(),
        json.dumps({"inputs": [GOOD]}).replace("[1, 2]", f"[{'9' * 5000}, 1]").encode(),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        parse_request(text, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [-1, 3])
def test_a_header_length_beyond_the_body_is_refused(length: int) -> None:
    with pytest.raises(BadInput, match="Inference-Header-Content-Length: expected 0 to 2"):
        parse_request(b"{}", length)


@given(st.binary(max_size=60), st.none() | st.integers(-5, 70), st.booleans())
def test_any_bytes_are_read_or_refused(noise: bytes, length: int | None, in_front: bool) -> None:
    good = body([BINARY]) + b"12345678"
    with suppress(BadInput):
        parse_request(noise + good if in_front else good[:-20] + noise, length)


def test_metadata_name_free_dimensions_minus_one() -> None:
    spec = TensorSpec(name="x", dtype="float16", shape=("N", 3, 4))
    assert tensor_metadata([spec]) == [{"name": "x", "datatype": "FP16", "shape": [-1, 3, 4]}]


def test_a_model_with_text_cannot_be_served() -> None:
    with pytest.raises(BadInput, match="tensor x: expected one of bool"):
        check_datatypes([TensorSpec(name="x", dtype="string", shape=("N",))])
