"""Tensors of the Open Inference Protocol (KServe v2) over HTTP <-> numpy arrays; pure functions.

Sources: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and its page "Binary Tensor Data
Extension". Binary data stands behind the JSON object, tensor after tensor, little-endian, row-major, without gaps; the
header Inference-Header-Content-Length tells how long the JSON object is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.runtimes.base import Array
from edgecnn.specs import TensorSpec

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""numpy name -> name in the protocol. BYTES and BF16, which numpy does not have, are not served."""

# Parameters of a tensor that ask for what this server does not do; passing over them would give a wrong answer.
_REFUSED = ("shared_memory_region", "classification")

# What a request looks like.
_EXAMPLE = 'send {"inputs":[{"name":"...","datatype":"FP32","shape":[...],"data":[...]}]}'

# Kind of a dtype -> what JSON may have for it.
_JSON_TYPES: Mapping[str, tuple[type, ...]] = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request for inference.

    Attributes:
        id: comes back with the answer, None where there was none.
        feeds: input name -> array; names, dtypes and shapes are still to be held against the model.
        outputs: (name, as binary data) of the outputs that are wanted, in order; None wants all.
        binary: outputs go back as binary data where `outputs` does not say.
        timeout_s: how long the asker waits at most, seconds, None for as long as it takes.
    """

    id: str | None
    feeds: dict[str, Array]
    outputs: tuple[tuple[str, bool], ...] | None
    binary: bool
    timeout_s: float | None


def check_datatypes(specs: Sequence[TensorSpec]) -> None:
    """Raise BadInput if a tensor has a dtype that the protocol cannot carry between this server and numpy."""
    for spec in specs:
        if spec.dtype not in DATATYPES:
            raise BadInput(f"tensor {spec.name}", expected=f"one of {', '.join(DATATYPES)}", got=spec.dtype)


def tensor_metadata(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Return what the model's metadata say about tensors; a free dimension is -1."""
    return [
        {
            "name": spec.name,
            "datatype": DATATYPES[spec.dtype],
            "shape": [-1 if isinstance(size, str) else size for size in spec.shape],
        }
        for spec in specs
    ]


def parse_request(body: bytes, header_length: int | None) -> InferRequest:
    """Return a request for inference.

    Args:
        body: of the HTTP request.
        header_length: bytes of the JSON object at its front; None where it is all of it.

    Raises:
        BadInput: anything that is not as the protocol has it.
    """
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise BadInput(
            "Inference-Header-Content-Length",
            "it is the length of the JSON object, without the binary data behind it",
            expected=f"0 to {len(body)}, the length of the body",
            got=str(length),
        )
    data = _json_object(body[:length], alone=header_length is None)
    parameters = _object(data, "parameters", "request")
    request_id = data.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadInput("id", expected="a string", got=_kind(request_id))
    binary = _flag(parameters, "binary_data_output", "request")
    return InferRequest(
        id=request_id,
        feeds=_inputs(data, body, length),
        outputs=_outputs(data, binary),
        binary=binary,
        timeout_s=_timeout_s(parameters),
    )


def check_fits(specs: Sequence[TensorSpec], feeds: Mapping[str, Array], hint: str) -> None:
    """Return if inputs are those of a model, but for sizes that have to be equal; errors use the protocol's names.

    Args:
        specs: of the model's inputs.
        feeds: name -> array.
        hint: for the error.

    Raises:
        BadInput: a missing or unknown input, another datatype or shape.
    """
    names = [spec.name for spec in specs]
    if set(feeds) != set(names):
        raise BadInput("inputs", hint, expected=", ".join(names), got=", ".join(feeds)[:200] or "none")
    for spec in specs:
        array = feeds[spec.name]
        wanted, got = DATATYPES[spec.dtype], DATATYPES[array.dtype.name]
        if wanted != got:
            raise BadInput(f"input {spec.name}: datatype", hint, expected=wanted, got=got)
        sizes = [-1 if isinstance(size, str) else size for size in spec.shape]
        if len(sizes) != array.ndim or any(a not in (-1, b) for a, b in zip(sizes, array.shape, strict=True)):
            raise BadInput(f"input {spec.name}: shape", hint, expected=str(sizes), got=str(list(array.shape)))


def render_answer(
    request: InferRequest, outputs: Mapping[str, Array], *, model: str, version: str
) -> tuple[bytes, int | None]:
    """Return the body of the answer, and the length of its JSON object where binary data follow it.

    In JSON, a value that it does not have (NaN, an infinity) is null.

    Raises:
        BadInput: an output is wanted that the model does not have.
    """
    wanted = request.outputs
    if wanted is None:
        wanted = tuple((name, request.binary) for name in outputs)
    tensors, blobs = [], []
    for name, binary in wanted:
        if name not in outputs:
            raise BadInput("outputs", expected=", ".join(outputs), got=name)
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
        if binary:
            blobs.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = _json_values(array)
        tensors.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if request.id is not None:
        answer["id"] = request.id
    head = json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()
    return (b"".join((head, *blobs)), len(head)) if blobs else (head, None)


def _json_object(text: bytes, *, alone: bool) -> dict[str, Any]:
    """Return the JSON object of a request.

    Args:
        text: of it.
        alone: it should be all of the body; else the header says where it ends.
    """
    if not text.strip():
        raise BadInput("the request", _EXAMPLE, expected="a JSON object", got="no bytes")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = "" if alone else f" in the {len(text)} bytes that Inference-Header-Content-Length says"
        goes_on = not isinstance(error, json.JSONDecodeError) or error.msg == "Extra data"
        hint = "binary data behind it need the header Inference-Header-Content-Length" if alone and goes_on else ""
        raise BadInput(f"the request is not JSON{where}: {error}"[:250], hint) from None
    if not isinstance(data, dict):
        raise BadInput("the request", _EXAMPLE, expected="a JSON object", got=_kind(data))
    return data


def _no_constant(name: str) -> None:
    raise BadInput(f"the request is not JSON: {name}", "send the tensor as binary data")


def _inputs(data: dict[str, Any], body: bytes, length: int) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    start = length
    for tensor in _objects(data, "inputs", _EXAMPLE):
        name = _text(tensor, "name", "input")
        if name in feeds:
            raise BadInput("inputs", "leave one out", expected="each name once", got=f"{name[:100]} twice")
        where = f"input {name}"
        dtype = _dtype(tensor, where)
        shape = _shape(tensor, where)
        parameters = _object(tensor, "parameters", where)
        _refuse(parameters, where)
        size = parameters.get("binary_data_size")
        if (size is None) == ("data" not in tensor):
            got = "neither" if size is None else "both"
            raise BadInput(where, expected="either data or the parameter binary_data_size", got=got)
        if size is None:
            feeds[name] = _from_json(tensor["data"], dtype, shape, where)
        else:
            feeds[name] = _from_binary(body, start, size, dtype, shape, where)
            start += size
    if start != len(body):
        raise BadInput(
            "binary data behind the JSON object",
            "the sum of all binary_data_size has to be its length",
            expected=f"{start - length} bytes",
            got=str(len(body) - length),
        )
    return feeds


def _outputs(data: dict[str, Any], binary: bool) -> tuple[tuple[str, bool], ...] | None:
    if not data.get("outputs"):
        return None
    wanted = []
    for tensor in _objects(data, "outputs"):
        name = _text(tensor, "name", "output")
        parameters = _object(tensor, "parameters", f"output {name}")
        _refuse(parameters, f"output {name}")
        wanted.append((name, _flag(parameters, "binary_data", f"output {name}", binary)))
    if len({name for name, _ in wanted}) < len(wanted):
        raise BadInput("outputs", "leave one out", expected="each name once", got="one twice")
    return tuple(wanted)


def _timeout_s(parameters: dict[str, Any]) -> float | None:
    """Return the parameter "timeout", microseconds as Triton has it, in seconds."""
    timeout_us = parameters.get("timeout")
    if timeout_us is None or timeout_us == 0:
        return None
    if type(timeout_us) is not int or not 0 < timeout_us < 1 << 63:
        got = str(timeout_us)[:40] if type(timeout_us) in (int, float) else _kind(timeout_us)
        raise BadInput("timeout", expected="a whole number of microseconds above 0", got=got)
    return timeout_us / 1e6


def _from_json(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> Array:
    values = _flat(data, where)
    # Looked at before numpy has them: of one long text among many it would make as many long ones.
    strangers = {type(value) for value in values}.difference(_JSON_TYPES[dtype.kind])
    if strangers:
        got = " and ".join(sorted(_kind_of(one) for one in strangers))
        raise BadInput(where, expected=f"values of {DATATYPES[dtype.name]}", got=got)
    if len(values) != math.prod(shape):
        raise BadInput(where, expected=f"{math.prod(shape)} values for shape {list(shape)}", got=str(len(values)))
    beyond = BadInput(where, expected=f"values in the range of {DATATYPES[dtype.name]}", got="one beyond it")
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= min(values) <= max(values) <= np.iinfo(dtype).max:
        raise beyond
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, np.float64 if dtype.kind == "f" else dtype).astype(dtype, copy=False)
    except OverflowError:  # a whole number that no float holds
        raise beyond from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise beyond
    return array.reshape(shape)


def _flat(data: Any, where: str) -> list[Any]:
    """Return the values of nested lists in order."""
    level = [data]
    while isinstance(level[0], list):
        if {type(rows) for rows in level} != {list} or len({len(rows) for rows in level}) > 1:
            raise BadInput(where, expected="data without ragged rows", got="rows of several lengths")
        level = list(chain.from_iterable(level))
        if not level:
            raise BadInput(where, expected="data", got="an empty list")
    return level


def _from_binary(body: bytes, start: int, size: Any, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> Array:
    count = math.prod(shape)
    if type(size) is not int or size != count * dtype.itemsize:
        expected = f"{count * dtype.itemsize} bytes for shape {list(shape)}"
        raise BadInput(f"{where}: binary_data_size", expected=expected, got=str(size)[:40])
    if size > len(body) - start:
        raise BadInput(where, expected=f"{size} bytes of binary data", got=str(len(body) - start))
    if dtype.kind == "b" and body[start : start + size].strip(b"\0\1"):
        raise BadInput(where, expected="bytes 0 and 1 for BOOL", got="others")
    array = np.frombuffer(body, dtype.newbyteorder("<"), count, start).reshape(shape)
    # Behind a JSON object of any length the values may lie where the processor cannot read them at once.
    return np.require(array, dtype, ["A"])


def _json_values(array: Array) -> list[Any]:
    flat = array.reshape(-1)
    values: list[Any] = flat.tolist()
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        return [value if math.isfinite(value) else None for value in values]
    return values


def _dtype(tensor: dict[str, Any], where: str) -> np.dtype[Any]:
    datatype = _text(tensor, "datatype", where)
    for name, known in DATATYPES.items():
        if known == datatype:
            return np.dtype(name)
    raise BadInput(f"{where}: datatype", expected=f"one of {', '.join(DATATYPES.values())}", got=datatype[:40])


def _shape(tensor: dict[str, Any], where: str) -> tuple[int, ...]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 1 << 63 for size in shape):
        got = str(shape)[:40] if isinstance(shape, list) else _kind(shape)
        raise BadInput(f"{where}: shape", expected="a list of whole numbers of at least 1", got=got)
    if len(shape) > 32:
        raise BadInput(f"{where}: shape", expected="at most 32 dimensions", got=str(len(shape)))
    return tuple(shape)


def _refuse(parameters: dict[str, Any], where: str) -> None:
    for name in _REFUSED:
        if name in parameters:
            raise BadInput(
                f"{where}: this server does not know the parameter {name}",
                "leave it out, and send and take tensors as data or binary_data",
            )


def _objects(data: dict[str, Any], key: str, hint: str = "") -> list[dict[str, Any]]:
    items = data.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadInput(key, hint, expected="a list of objects", got=_kind(items))
    return items


def _object(data: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(f"{where}: {key}", expected="an object", got=_kind(value))
    return value


def _text(data: dict[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise BadInput(f"{where}: {key}", expected="a string", got=_kind(value))
    return value


def _flag(parameters: dict[str, Any], key: str, where: str, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise BadInput(f"{where}: {key}", expected="true or false", got=_kind(value))
    return value


def _kind(value: Any) -> str:
    return _kind_of(type(value))


def _kind_of(kind: type) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(kind, "a number")
