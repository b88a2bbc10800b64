"""Damaged files on purpose: seeded mutations of bytes, and of the fields of an ONNX model; for fuzz tests.

generator = numpy.random.default_rng(7)
damaged = mutate_bytes(content, generator)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_Damage = Callable[[bytearray, np.random.Generator], bytearray]

# Sizes, counts and codes at which programs break: around 0, the ends of their widths, and what overflows a product.
EXTREMES = (
    0,
    1,
    -1,
    2,
    7,
    127,
    128,
    255,
    256,
    65535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    (1 << 62),
)


def mutate_bytes(content: bytes, generator: np.random.Generator, *, other: bytes = b"") -> bytes:
    """Return the content with one kind of damage: bits, bytes, a cut, a gap, a repetition, a number, or a part of another.

    Args:
        content: at least one byte.
        generator: the source of chance; the same state gives the same damage.
        other: a file to take a part of.
    """
    kinds: list[_Damage] = [_flip_bits, _set_bytes, _cut, _remove, _repeat, _set_number]
    if other:
        kinds.append(lambda data, chance: _splice(data, chance, other))
    data = bytearray(content)
    return bytes(kinds[generator.integers(len(kinds))](data, generator))


def _place(data: bytearray, generator: np.random.Generator) -> int:
    """Return an index; headers and trailers, where the structure is, are hit more often than the middle."""
    kind = generator.integers(4)
    if kind == 0:
        return int(generator.integers(min(len(data), 64)))
    if kind == 1:
        return len(data) - 1 - int(generator.integers(min(len(data), 512)))
    return int(generator.integers(len(data)))


def _flip_bits(data: bytearray, generator: np.random.Generator) -> bytearray:
    for _ in range(generator.integers(1, 9)):
        data[_place(data, generator)] ^= 1 << int(generator.integers(8))
    return data


def _set_bytes(data: bytearray, generator: np.random.Generator) -> bytearray:
    for _ in range(generator.integers(1, 5)):
        data[_place(data, generator)] = int(generator.choice([0, 1, 0x7F, 0x80, 0xFF, int(generator.integers(256))]))
    return data


def _cut(data: bytearray, generator: np.random.Generator) -> bytearray:
    return data[: _place(data, generator)]


def _remove(data: bytearray, generator: np.random.Generator) -> bytearray:
    start = _place(data, generator)
    del data[start : start + int(generator.integers(1, 64))]
    return data


def _repeat(data: bytearray, generator: np.random.Generator) -> bytearray:
    start, length = _place(data, generator), int(generator.integers(1, 256))
    return data[: start + length] + data[start:]


def _set_number(data: bytearray, generator: np.random.Generator) -> bytearray:
    start = _place(data, generator)
    number = EXTREMES[generator.integers(len(EXTREMES))] % (1 << 32)
    data[start : start + 4] = number.to_bytes(4, "little" if generator.integers(2) else "big")
    return data


def _splice(data: bytearray, generator: np.random.Generator, other: bytes) -> bytearray:
    start = int(generator.integers(len(other)))
    return data[: _place(data, generator)] + bytearray(other[start:])


def mutate_model(model: onnx.ModelProto, generator: np.random.Generator) -> bytes:
    """Return an ONNX model with one to three fields changed: a shape, type, attribute, operator, name, version or weight.

    Args:
        model: is changed.
        generator: the source of chance.
    """
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        change = _CHANGES[generator.integers(len(_CHANGES))]
        change(model, generator)
    content: bytes = model.SerializeToString()
    return content


def _one(items: Any, generator: np.random.Generator) -> Any:
    return items[int(generator.integers(len(items)))] if len(items) else None


def _number(generator: np.random.Generator) -> int:
    return EXTREMES[int(generator.integers(len(EXTREMES)))]


def _weight_shape(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    weight = _one(model.graph.initializer, generator)
    if weight is not None and len(weight.dims):
        weight.dims[int(generator.integers(len(weight.dims)))] = _number(generator)


def _weight_type(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    weight = _one(model.graph.initializer, generator)
    if weight is not None:
        weight.data_type = int(generator.integers(24))


def _weight_data(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    weight = _one(model.graph.initializer, generator)
    if weight is not None and weight.raw_data:
        weight.raw_data = mutate_bytes(weight.raw_data, generator)


def _weight_order(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    first, second = _one(model.graph.initializer, generator), _one(model.graph.initializer, generator)
    if first is not None:
        first.name, second.name = second.name, first.name


def _input_shape(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    value = _one([*model.graph.input, *model.graph.output, *model.graph.value_info], generator)
    dimension = _one(value.type.tensor_type.shape.dim, generator) if value is not None else None
    if dimension is not None:
        dimension.dim_value = _number(generator)


def _input_type(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    value = _one([*model.graph.input, *model.graph.output], generator)
    if value is not None:
        value.type.tensor_type.elem_type = int(generator.integers(24))


def _attribute(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    attribute = _one([each for node in model.graph.node for each in node.attribute], generator)
    if attribute is None:
        return
    kind = generator.integers(3)
    if kind == 0 and len(attribute.ints):
        attribute.ints[int(generator.integers(len(attribute.ints)))] = _number(generator)
    elif kind == 1:
        attribute.i = _number(generator)
        attribute.f = float(generator.choice([0.0, -1.0, 1e38, float("nan"), float("inf")]))
    else:
        attribute.type = int(generator.integers(15))


def _operator(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    node = _one(model.graph.node, generator)
    if node is not None:
        node.op_type = str(generator.choice(_OPERATORS))


def _wiring(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    node, other = _one(model.graph.node, generator), _one(model.graph.node, generator)
    if node is not None and len(node.input):
        source = _one([*other.input, *other.output], generator) or ""
        node.input[int(generator.integers(len(node.input)))] = source


def _nodes(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    nodes = model.graph.node
    if len(nodes):
        if generator.integers(2):
            del nodes[int(generator.integers(len(nodes)))]
        else:
            nodes.append(nodes[int(generator.integers(len(nodes)))])


def _versions(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    if generator.integers(2):
        model.ir_version = _number(generator) % (1 << 31)
    elif len(model.opset_import):
        model.opset_import[0].version = int(generator.integers(40))


def _metadata(model: onnx.ModelProto, generator: np.random.Generator) -> None:
    entry = _one(model.metadata_props, generator)
    if entry is not None and entry.value:
        damaged = mutate_bytes(entry.value.encode(), generator)
        entry.value = damaged.decode(errors="replace")


_OPERATORS = (
    *(
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Concat",
        "Conv",
        "ConvTranspose",
        "DequantizeLinear",
        "Flatten",
        "Gather",
    ),
    *(
        "Gemm",
        "GlobalAveragePool",
        "LRN",
        "Loop",
        "MatMul",
        "MaxPool",
        "MaxUnpool",
        "NonMaxSuppression",
        "Pad",
        "QLinearConv",
    ),
    *(
        "QuantizeLinear",
        "Relu",
        "Reshape",
        "Resize",
        "ScatterND",
        "Slice",
        "Softmax",
        "Split",
        "Tile",
        "TopK",
        "Transpose",
    ),
)

_CHANGES: tuple[Callable[[Any, np.random.Generator], None], ...] = (
    *(_weight_shape, _weight_type, _weight_data, _weight_order, _input_shape, _input_type),
    *(_attribute, _attribute, _operator, _operator, _wiring, _nodes, _versions, _metadata),
)
