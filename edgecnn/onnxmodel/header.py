"""What an .onnx file says about itself, read without the onnx package and without an engine.

The file is one protobuf message (onnx/onnx.proto of the ONNX specification). Only the outline is decoded: versions,
metadata, the graph's inputs and outputs, operator names and the types of the weights; weight data is skipped, so that
the outline of a 500 MB file costs milliseconds. This is what lets a board check a file before an engine sees it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.errors import BadInput
from edgecnn.onnxmodel.protowire import Buffer, Malformed, fields, text
from edgecnn.specs import TensorSpec

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from edgecnn.values import dataclass

# TensorProto.DataType of onnx.proto -> numpy name.
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxHeader:
    """The outline of an ONNX file.

    Attributes:
        ir_version: version of the file format.
        opsets: operator set domain -> version; the default domain is "".
        producer: name and version of the program that wrote the file.
        metadata: the file's key-value pairs.
        inputs: graph inputs that are not weights.
        outputs: graph outputs.
        op_types: the distinct operator names of the graph itself; those of sub-graphs and functions are not listed.
        weight_dtypes: the distinct types of the graph's weights.
        external_data: whether weights lie in other files.
    """

    ir_version: int
    opsets: dict[str, int]
    producer: str
    metadata: dict[str, str]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    op_types: frozenset[str]
    weight_dtypes: frozenset[str]
    external_data: bool


def unnamed_dimension(tensor: str, index: int) -> str:
    """Return the symbol of a dimension that has neither size nor name: each stands for itself alone.

    Args:
        tensor: the name of the input or output.
        index: of the dimension.
    """
    return f"{tensor}_{index}"


def read_header(path: Path) -> OnnxHeader:
    """Return the outline of an .onnx file.

    Raises:
        BadInput: the file is missing, empty, cut short or not an ONNX model.
    """
    with model_bytes(path) as buffer:
        return _decode(buffer)


@contextmanager
def model_bytes(path: Path) -> Iterator[Buffer]:
    """Yield the bytes of an .onnx file, mapped into memory; what the block finds malformed becomes a BadInput.

    Raises:
        BadInput: the file is missing, empty, cannot be read, or is malformed.
    """
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) == 0:
                raise BadInput(f"{path} is empty", "export it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                yield buffer
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", _neighbours(path)) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    except Malformed as error:
        raise BadInput(f"{path} is not an ONNX model or is cut short: {error}", "export or copy it again") from None


def _decode(buffer: Buffer) -> OnnxHeader:
    ir_version, graph = 0, None
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    producer = ["", ""]
    for number, value, end in fields(buffer, 0, len(buffer)):
        if number == 1 and end is None:
            ir_version = value
        elif end is None:
            continue
        elif number in (2, 3):
            producer[number - 2] = text(buffer, value, end)
        elif number == 7:
            graph = (value, end)
        elif number == 8:
            opsets.update([_opset(buffer, value, end)])
        elif number == 14:
            metadata.update([_pair(buffer, value, end)])
    if graph is None or not opsets or ir_version < 1:
        raise Malformed("no graph, operator set or version in it")
    inputs, outputs, op_types, weights = _graph(buffer, *graph)
    return OnnxHeader(
        ir_version=ir_version,
        opsets=opsets,
        producer=" ".join(producer).strip(),
        metadata=metadata,
        inputs=tuple(spec for spec in inputs if spec.name not in weights),
        outputs=tuple(outputs),
        op_types=frozenset(op_types),
        weight_dtypes=frozenset(dtype for dtype, _ in weights.values()),
        external_data=any(external for _, external in weights.values()),
    )


def _graph(
    buffer: Buffer, start: int, stop: int
) -> tuple[list[TensorSpec], list[TensorSpec], set[str], dict[str, tuple[str, bool]]]:
    inputs, outputs, op_types = [], [], set()
    weights: dict[str, tuple[str, bool]] = {}
    for number, value, end in fields(buffer, start, stop):
        if end is None:
            continue
        if number == 1:
            op_types.add(_string_field(buffer, value, end, 4))
        elif number == 5:
            name, dtype, external = _weight(buffer, value, end)
            weights[name] = (dtype, external)
        elif number == 11:
            inputs.append(value_info(buffer, value, end))
        elif number == 12:
            outputs.append(value_info(buffer, value, end))
    return inputs, outputs, op_types, weights


def _weight(buffer: Buffer, start: int, stop: int) -> tuple[str, str, bool]:
    name, dtype, external = "", 0, False
    for number, value, end in fields(buffer, start, stop):
        if number == 2 and end is None:
            dtype = value
        elif number == 8 and end is not None:
            name = text(buffer, value, end)
        elif number == 14 and end is None:
            external = value == 1
    return name, DTYPES.get(dtype, f"type {dtype}"), external


def value_info(buffer: Buffer, start: int, stop: int) -> TensorSpec:
    """Return what a ValueInfoProto says about a tensor.

    Raises:
        Malformed: it is none.
    """
    name, dtype = "", 0
    shape: list[int | str | None] = []
    for number, value, end in fields(buffer, start, stop):
        if number == 1 and end is not None:
            name = text(buffer, value, end)
        elif number == 2 and end is not None:
            dtype, shape = _type(buffer, value, end)
    named = tuple(unnamed_dimension(name, i) if d is None else d for i, d in enumerate(shape))
    return TensorSpec(name=name, dtype=DTYPES.get(dtype, f"type {dtype}"), shape=named)


def _type(buffer: Buffer, start: int, stop: int) -> tuple[int, list[int | str | None]]:
    dtype = 0
    shape: list[int | str | None] = []
    for number, value, end in fields(buffer, start, stop):
        if number != 1 or end is None:
            continue
        for inner, inner_value, inner_end in fields(buffer, value, end):
            if inner == 1 and inner_end is None:
                dtype = inner_value
            elif inner == 2 and inner_end is not None:
                shape = [
                    _dimension(buffer, v, e)
                    for n, v, e in fields(buffer, inner_value, inner_end)
                    if n == 1 and e is not None
                ]
    return dtype, shape


def _dimension(buffer: Buffer, start: int, stop: int) -> int | str | None:
    # An empty name and a negative size (two's complement in 64 bits) both stand for unknown.
    for number, value, end in fields(buffer, start, stop):
        if number == 1 and end is None and value < 1 << 63:
            return value
        if number == 2 and end is not None and end > value:
            return text(buffer, value, end)
    return None


def _opset(buffer: Buffer, start: int, stop: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, value, end in fields(buffer, start, stop):
        if number == 1 and end is not None:
            domain = text(buffer, value, end)
        elif number == 2 and end is None:
            version = value
    return ("" if domain == "ai.onnx" else domain), version


def _pair(buffer: Buffer, start: int, stop: int) -> tuple[str, str]:
    return _string_field(buffer, start, stop, 1), _string_field(buffer, start, stop, 2)


def _string_field(buffer: Buffer, start: int, stop: int, wanted: int) -> str:
    for number, value, end in fields(buffer, start, stop):
        if number == wanted and end is not None:
            return text(buffer, value, end)
    return ""


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    for folder in (path.parent, path.parent / "models"):
        near = sorted(other.name for other in folder.glob(f"*{path.suffix or '.onnx'}"))[:8]
        if near:
            return f"{folder} has {', '.join(near)}"
    return f"{path.parent} has no models: edgecnn export NAME"
