"""The nodes and small constants of an .onnx file, read without the onnx package: what a check before an engine needs.

Message and field numbers: onnx/onnx.proto of the ONNX specification. `edgecnn.onnxmodel.header` reads the outline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.onnxmodel.header import DTYPES, model_bytes, value_info
from edgecnn.onnxmodel.protowire import Buffer, Malformed, fields, text, varint
from edgecnn.specs import TensorSpec

# Larger constants are weights: their values are not read.
_VALUES_UP_TO_BYTES = 1 << 20

# Field of TensorProto with packed numbers -> numpy type in the file; None stands for numbers of variable length.
_PACKED: Mapping[int, str | None] = {4: "<f4", 5: None, 7: None, 10: "<f8", 11: None}


Attribute = int | str | tuple[int, ...]
"""Value of a node's attribute."""

# AttributeProto.AttributeType: a float, a tensor, a graph and lists of these are not read as attributes.
_TEXT, _INT, _INTS = 3, 2, 7


ELEMENTWISE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Gelu", "Softplus"}
    | {"Mish", "Swish", "Add", "Sub", "Mul", "Div", "Sum", "BatchNormalization", "QuantizeLinear"}
)
"""Operators that go element by element: engines fuse them into the layer before, and let them work in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """One operator of a graph.

    Attributes:
        name: as the file names it, or else that of its first output.
        op_type: "Conv" for example.
        domain: of the operator; the default domain is "".
        inputs: names; "" for an optional input that is left out.
        outputs: names.
        attributes: those that are whole numbers, lists of them, or texts.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxConstant:
    """An initializer or the value of a Constant node.

    Attributes:
        dtype: numpy name, or "type 21" for one that numpy does not have.
        shape: of the tensor.
        values: row by row, flat; None where they lie in another file, are more than 1 MiB or of a type numpy lacks.
    """

    dtype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """What the file computes.

    Attributes:
        nodes: in the file's order; those of sub-graphs and functions come after all others.
        constants: by name.
        tensors: what the file says about types and shapes of further tensors, graph inputs and outputs included.
    """

    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, OnnxConstant]
    tensors: Mapping[str, TensorSpec] = field(default_factory=dict)


def read_graph(path: Path) -> OnnxGraph:
    """Return the nodes and constants of an .onnx file.

    Raises:
        BadInput: the file is missing, empty, cut short or not an ONNX model.
    """
    nodes: list[OnnxNode] = []
    constants: dict[str, OnnxConstant] = {}
    tensors: dict[str, TensorSpec] = {}
    with model_bytes(path) as buffer:
        graphs = []
        for number, value, end in fields(buffer, 0, len(buffer)):
            if end is not None and number == 7:
                graphs.append((value, end, 1))
            elif end is not None and number == 25:
                graphs.append((value, end, 7))  # a FunctionProto has its nodes in field 7
        if not any(field == 1 for *_, field in graphs):
            raise Malformed("no graph in it")
        # Graphs inside of nodes are added to the list while it is read.
        for start, stop, node_field in graphs:
            for number, value, end in fields(buffer, start, stop):
                if end is None:
                    continue
                if number == node_field:
                    node, inner = _node(buffer, value, end, constants)
                    nodes.append(node)
                    graphs.extend((*place, 1) for place in inner)
                elif number == 5 and node_field == 1:
                    name, constant = _tensor(buffer, value, end)
                    constants[name] = constant
                elif number in (11, 12, 13) and node_field == 1:
                    spec = value_info(buffer, value, end)
                    tensors[spec.name] = spec
    return OnnxGraph(nodes=tuple(nodes), constants=constants, tensors=tensors)


def _node(
    buffer: Buffer, start: int, stop: int, constants: dict[str, OnnxConstant]
) -> tuple[OnnxNode, list[tuple[int, int]]]:
    """Return a node and where its sub-graphs lie; the value of a Constant is added to the constants."""
    names: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: [], 7: []}
    inner: list[tuple[int, int]] = []
    values: list[tuple[int, int]] = []
    attributes: dict[str, Attribute] = {}
    for number, value, end in fields(buffer, start, stop):
        if end is None:
            continue
        if number in names:
            names[number].append(text(buffer, value, end))
        elif number == 5:
            attributes.update(_attribute(buffer, value, end))
            for attribute_field, inner_value, inner_end in fields(buffer, value, end):
                if inner_end is not None and attribute_field in (6, 11):
                    inner.append((inner_value, inner_end))
                elif inner_end is not None and attribute_field == 5:
                    values.append((inner_value, inner_end))
    op_type = "".join(names[4][-1:])
    if op_type == "Constant" and values and names[2]:
        constants[names[2][0]] = _tensor(buffer, *values[0])[1]
    domain = "".join(names[7][-1:])
    node = OnnxNode(
        name="".join(names[3][-1:]) or "".join(names[2][:1]),
        op_type=op_type,
        domain="" if domain == "ai.onnx" else domain,
        inputs=tuple(names[1]),
        outputs=tuple(names[2]),
        attributes=attributes,
    )
    return node, inner


def _attribute(buffer: Buffer, start: int, stop: int) -> dict[str, Attribute]:
    """Return an attribute by its name; nothing for one of another type."""
    name, kind, value = "", 0, 0
    words = ""
    numbers: list[int] = []
    for number, found, end in fields(buffer, start, stop):
        if number == 1 and end is not None:
            name = text(buffer, found, end)
        elif number == 20 and end is None:
            kind = found
        elif number == 3 and end is None:
            value = _signed(found)
        elif number == 4 and end is not None:
            words = buffer[found:end].decode(errors="replace")
        elif number == 8:
            numbers += map(_signed, [found] if end is None else _varints(buffer, found, end))
    known: dict[int, Attribute] = {_INT: value, _TEXT: words, _INTS: tuple(numbers)}
    return {name: known[kind]} if kind in known else {}


def _signed(number: int) -> int:
    """Return the number that a 64-bit two's complement stands for."""
    return number - (1 << 64) if number >> 63 else number


def _tensor(buffer: Buffer, start: int, stop: int) -> tuple[str, OnnxConstant]:
    name, dtype, external = "", 0, False
    shape: list[int] = []
    raw: tuple[int, int] | None = None
    packed: list[NDArray[Any]] = []
    for number, value, end in fields(buffer, start, stop):
        if number == 1:
            shape.extend([value] if end is None else _varints(buffer, value, end))
        elif number == 2 and end is None:
            dtype = value
        elif number == 8 and end is not None:
            name = text(buffer, value, end)
        elif number == 9 and end is not None:
            raw = (value, end)
        elif number == 14 and end is None:
            external = value == 1
        elif number in _PACKED and (end is None or end - value <= _VALUES_UP_TO_BYTES):
            packed.append(_numbers(buffer, number, value, end))
    known = DTYPES.get(dtype, f"type {dtype}")
    values = None if external else _values(buffer, known, raw, packed, shape)
    return name, OnnxConstant(dtype=known, shape=tuple(shape), values=values)


def _values(
    buffer: Buffer, dtype: str, raw: tuple[int, int] | None, packed: list[NDArray[Any]], shape: list[int]
) -> NDArray[Any] | None:
    """Return a tensor's values; None where they cannot be told or do not fit its shape."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        return None
    if raw is not None:
        if raw[1] - raw[0] > _VALUES_UP_TO_BYTES or (raw[1] - raw[0]) % kind.itemsize:
            return None
        values = np.frombuffer(buffer[raw[0] : raw[1]], kind.newbyteorder("<")).astype(kind)
    elif not packed:
        return np.zeros(0, kind) if 0 in shape else None
    else:
        try:
            # int32_data holds the bits of float16.
            values = np.concatenate(packed).astype(np.uint16 if dtype == "float16" else kind).view(kind)
        except (OverflowError, ValueError):
            return None
    return values if values.size == math.prod(shape) else None


def _numbers(buffer: Buffer, number: int, value: int, end: int | None) -> NDArray[Any]:
    kind = _PACKED[number]
    if kind is None:
        found = [value] if end is None else list(_varints(buffer, value, end))
        return np.array([one if number == 11 else _signed(one) for one in found], dtype=object)
    if end is None or (end - value) % np.dtype(kind).itemsize:
        raise Malformed("numbers that end inside one")
    return np.frombuffer(buffer[value:end], kind)


def _varints(buffer: Buffer, start: int, stop: int) -> Iterator[int]:
    position = start
    while position < stop:
        number, position = varint(buffer, position, stop)
        yield number
