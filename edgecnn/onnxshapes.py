"""Types and shapes of the tensors of a graph for given input shapes, without the onnx package and without an engine.

Covers what classifiers are made of, as the ONNX specification (docs/Operators.md) defines it. A tensor behind an operator
that is not known here has what the file itself says about it, or is left out: unknown is never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.onnxgraph import OnnxGraph, OnnxNode
from edgecnn.onnxheader import DTYPES

Shape = tuple[int, ...]

ITEM_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "uint16": 2,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}
"""Type -> bytes of one value."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type and shape of one tensor.

    Attributes:
        dtype: numpy name, "bfloat16" besides.
        shape: sizes.
    """

    dtype: str
    shape: Shape

    @property
    def size_bytes(self) -> int | None:
        """Its size; None for a type of unknown width."""
        item = ITEM_BYTES.get(self.dtype)
        return None if item is None else item * math.prod(self.shape)


Types = dict[str, TensorType]
Rule = Callable[[OnnxNode, Sequence["TensorType | None"], "_Values"], "Sequence[TensorType | None]"]
_Values = dict[str, NDArray[np.integer[Any]]]


def infer_types(graph: OnnxGraph, inputs: Mapping[str, TensorType]) -> Types:
    """Return name -> type of every tensor that can be told, constants and inputs included.

    Args:
        graph: in an order in which inputs come before their use, as ONNX asks for.
        inputs: of the graph, with the shapes that it is run with.
    """
    types: Types = {name: TensorType(one.dtype, one.shape) for name, one in graph.constants.items()}
    values: _Values = {
        name: np.asarray(one.values).reshape(one.shape)
        for name, one in graph.constants.items()
        if one.values is not None and one.dtype in ("int64", "int32")
    }
    types.update(inputs)
    symbols = _symbols(graph, inputs)
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        found = _apply(rule, node, types, values) if rule else ()
        for place, name in enumerate(node.outputs):
            one = found[place] if place < len(found) else None
            one = one or _declared(graph, name, symbols)
            if name and one is not None and name not in types:
                types[name] = one
    return types


def _apply(rule: Rule, node: OnnxNode, types: Types, values: _Values) -> Sequence[TensorType | None]:
    try:
        return rule(node, [types.get(name) for name in node.inputs], values)
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        # A file that breaks the specification has unknown shapes.
        return ()


def _symbols(graph: OnnxGraph, inputs: Mapping[str, TensorType]) -> dict[str, int]:
    """Return what the file's symbolic dimensions stand for in this run."""
    pairs = [
        (said, size)
        for name, one in inputs.items()
        if name in graph.tensors
        for said, size in zip(graph.tensors[name].shape, one.shape, strict=False)
    ]
    return {said: size for said, size in pairs if isinstance(said, str)}


def _declared(graph: OnnxGraph, name: str, symbols: Mapping[str, int]) -> TensorType | None:
    spec = graph.tensors.get(name)
    if spec is None:
        return None
    sizes = [symbols.get(size) if isinstance(size, str) else size for size in spec.shape]
    known = tuple(size for size in sizes if size is not None)
    return TensorType(spec.dtype, known) if len(known) == len(sizes) else None


def _ints(node: OnnxNode, name: str, default: Shape) -> Shape:
    found = node.attributes.get(name, default)
    return found if isinstance(found, tuple) else default


def _int(node: OnnxNode, name: str, default: int) -> int:
    found = node.attributes.get(name, default)
    return found if isinstance(found, int) else default


def _need(one: TensorType | None) -> TensorType:
    if one is None:
        raise LookupError
    return one


def _window(node: OnnxNode, sizes: Shape, kernel: Shape) -> Shape:
    """Return the positions of a sliding window along each axis (Operators.md, Conv and MaxPool)."""
    rank = len(kernel)
    strides, dilations = _ints(node, "strides", (1,) * rank), _ints(node, "dilations", (1,) * rank)
    pads, auto = _ints(node, "pads", (0,) * 2 * rank), node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    if auto == "VALID":
        pads = (0,) * 2 * rank
    ceil = _int(node, "ceil_mode", 0)
    found = []
    for axis, size in enumerate(sizes):
        padded = size + pads[axis] + pads[axis + rank]
        room = padded - dilations[axis] * (kernel[axis] - 1) - 1
        count = (-(-room // strides[axis]) if ceil else room // strides[axis]) + 1
        # A window that would begin in the padding on the right is left out (since operator set 19, and by engines before).
        if ceil and (count - 1) * strides[axis] >= size + pads[axis]:
            count -= 1
        found.append(count)
    return tuple(found)


def _conv(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, weight = _need(inputs[0]), _need(inputs[1])
    return (TensorType(data.dtype, (data.shape[0], weight.shape[0], *_window(node, data.shape[2:], weight.shape[2:]))),)


def _transposed_conv(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, weight = _need(inputs[0]), _need(inputs[1])
    if "output_shape" in node.attributes or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise LookupError
    rank, kernel = len(data.shape) - 2, weight.shape[2:]
    strides, dilations = _ints(node, "strides", (1,) * rank), _ints(node, "dilations", (1,) * rank)
    pads, extra = _ints(node, "pads", (0,) * 2 * rank), _ints(node, "output_padding", (0,) * rank)
    sizes = tuple(
        strides[i] * (data.shape[i + 2] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + rank]
        for i in range(rank)
    )
    return (TensorType(data.dtype, (data.shape[0], weight.shape[1] * _int(node, "group", 1), *sizes)),)


def _pool(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data = _need(inputs[0])
    out = TensorType(data.dtype, (*data.shape[:2], *_window(node, data.shape[2:], _ints(node, "kernel_shape", ()))))
    return (out, TensorType("int64", out.shape))


def _global_pool(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data = _need(inputs[0])
    return (TensorType(data.dtype, (*data.shape[:2], *(1 for _ in data.shape[2:]))),)


def _gemm(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    left, right = _need(inputs[0]), _need(inputs[1])
    rows = left.shape[1] if _int(node, "transA", 0) else left.shape[0]
    columns = right.shape[0] if _int(node, "transB", 0) else right.shape[1]
    return (TensorType(left.dtype, (rows, columns)),)


def _matmul(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    left, right = _need(inputs[0]), _need(inputs[1])
    if min(len(left.shape), len(right.shape)) < 2:
        raise LookupError
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return (TensorType(left.dtype, (*outer, left.shape[-2], right.shape[-1])),)


def _same(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType | None]:
    return (inputs[0],)


def _elementwise(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    shapes = [_need(one).shape for one in inputs]
    return (TensorType(_need(inputs[0]).dtype, tuple(np.broadcast_shapes(*shapes))),)


def _comparison(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    return (TensorType("bool", _elementwise(node, inputs, values)[0].shape),)


def _where(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    return (TensorType(_need(inputs[1]).dtype, _elementwise(node, inputs, values)[0].shape),)


def _quantize(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    zero = inputs[2] if len(inputs) > 2 else None
    return (TensorType(zero.dtype if zero else "uint8", _need(inputs[0]).shape),)


def _dequantize(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    return (TensorType(_need(inputs[1]).dtype, _need(inputs[0]).shape),)


def _cast(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    return (TensorType(DTYPES[_int(node, "to", 0)], _need(inputs[0]).shape),)


def _concat(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    parts, axis = [_need(one) for one in inputs], _int(node, "axis", 0)
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    _remember(node, values, lambda: np.concatenate([values[name] for name in node.inputs], axis))
    return (TensorType(parts[0].dtype, tuple(shape)),)


def _reshape(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, asked = _need(inputs[0]), [int(size) for size in values[node.inputs[1]].reshape(-1)]
    if not _int(node, "allowzero", 0):
        asked = [data.shape[place] if size == 0 else size for place, size in enumerate(asked)]
    rest = math.prod(size for size in asked if size != -1)
    whole = math.prod(data.shape)
    return (TensorType(data.dtype, tuple(whole // rest if size == -1 else size for size in asked)),)


def _flatten(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, axis = _need(inputs[0]), _int(node, "axis", 1)
    axis += len(data.shape) if axis < 0 else 0
    return (TensorType(data.dtype, (math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))),)


def _transpose(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data = _need(inputs[0])
    order = _ints(node, "perm", tuple(reversed(range(len(data.shape)))))
    return (TensorType(data.dtype, tuple(data.shape[place] for place in order)),)


def _axes(node: OnnxNode, place: int, values: _Values) -> Shape | None:
    """Return the axes of an attribute, or of an input since operator set 13 or 18; None where there are none."""
    if len(node.inputs) > place and node.inputs[place]:
        return tuple(int(axis) for axis in values[node.inputs[place]].reshape(-1))
    return _ints(node, "axes", ()) or None


def _reduce(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, axes = _need(inputs[0]), _axes(node, 1, values)
    rank = len(data.shape)
    gone = {axis % rank for axis in (range(rank) if axes is None else axes)}
    keep = _int(node, "keepdims", 1)
    sizes = [1 if axis in gone else size for axis, size in enumerate(data.shape) if keep or axis not in gone]
    return (TensorType(data.dtype, tuple(sizes)),)


def _squeeze(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, axes = _need(inputs[0]), _axes(node, 1, values)
    rank = len(data.shape)
    gone = {i for i, size in enumerate(data.shape) if size == 1} if axes is None else {axis % rank for axis in axes}
    _remember(
        node, values, lambda: values[node.inputs[0]].reshape([s for i, s in enumerate(data.shape) if i not in gone])
    )
    return (TensorType(data.dtype, tuple(size for i, size in enumerate(data.shape) if i not in gone)),)


def _unsqueeze(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, axes = _need(inputs[0]), _axes(node, 1, values) or ()
    rank = len(data.shape) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(data.shape)
    shape = tuple(1 if axis in new else next(old) for axis in range(rank))
    _remember(node, values, lambda: values[node.inputs[0]].reshape(shape))
    return (TensorType(data.dtype, shape),)


def _pad(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data = _need(inputs[0])
    rank = len(data.shape)
    named = len(node.inputs) > 1
    pads = [int(size) for size in values[node.inputs[1]].reshape(-1)] if named else list(_ints(node, "pads", ()))
    where = _axes(node, 3, values) or tuple(range(rank))
    shape = list(data.shape)
    for place, axis in enumerate(where):
        shape[axis % rank] += pads[place] + pads[place + len(where)]
    return (TensorType(data.dtype, tuple(shape)),)


def _slice_parts(node: OnnxNode, values: _Values) -> tuple[Shape, Shape, Shape, Shape]:
    """Return starts, ends, axes and steps: attributes before operator set 10, inputs since."""
    if len(node.inputs) < 3:
        starts, ends = _ints(node, "starts", ()), _ints(node, "ends", ())
        return starts, ends, _ints(node, "axes", tuple(range(len(starts)))), (1,) * len(starts)
    given = [tuple(values[name].reshape(-1).tolist()) if name else None for name in node.inputs[1:]]
    begin, end, axes, steps = [*given, None, None][:4]
    if begin is None or end is None:
        raise LookupError
    return begin, end, tuple(range(len(begin))) if axes is None else axes, steps or (1,) * len(begin)


def _slice(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data = _need(inputs[0])
    starts, ends, axes, steps = _slice_parts(node, values)
    cut = [slice(None)] * len(data.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(start, end, step)
    _remember(node, values, lambda: values[node.inputs[0]][tuple(cut)])
    sizes = [len(range(*one.indices(size))) for one, size in zip(cut, data.shape, strict=True)]
    return (TensorType(data.dtype, tuple(sizes)),)


def _split(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, axis, count = _need(inputs[0]), _int(node, "axis", 0), len(node.outputs)
    whole = data.shape[axis]
    even = -(-whole // count)
    sizes = [min(even, whole - even * place) for place in range(count)]
    if len(node.inputs) > 1 and node.inputs[1]:
        sizes = values[node.inputs[1]].reshape(-1).tolist()
    elif "split" in node.attributes:
        sizes = list(_ints(node, "split", ()))
    found = []
    for size in sizes:
        shape = list(data.shape)
        shape[axis] = int(size)
        found.append(TensorType(data.dtype, tuple(shape)))
    return found


def _shape_of(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    shape = _need(inputs[0]).shape
    part = np.array(shape[slice(_int(node, "start", 0), _int(node, "end", len(shape)))], np.int64)
    values[node.outputs[0]] = part
    return (TensorType("int64", part.shape),)


def _gather(node: OnnxNode, inputs: Sequence[TensorType | None], values: _Values) -> Sequence[TensorType]:
    data, indices, axis = _need(inputs[0]), _need(inputs[1]), _int(node, "axis", 0)
    axis += len(data.shape) if axis < 0 else 0
    _remember(node, values, lambda: np.take(values[node.inputs[0]], values[node.inputs[1]], axis))
    return (TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])),)


def _remember(node: OnnxNode, values: _Values, make: Callable[[], NDArray[np.integer[Any]]]) -> None:
    """Keep the value of an output where those of the inputs are known: shapes are computed in the graph."""
    if all(name in values for name in node.inputs if name):
        values[node.outputs[0]] = make()


_SAME = (
    *(
        "Relu",
        "LeakyRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Elu",
        "Selu",
        "Gelu",
        "Erf",
        "Exp",
        "Sqrt",
        "Abs",
    ),
    *(
        "Neg",
        "Clip",
        "Identity",
        "Softmax",
        "LogSoftmax",
        "BatchNormalization",
        "LRN",
        "Dropout",
        "Softplus",
        "Mish",
        "Swish",
    ),
    *(
        "InstanceNormalization",
        "LayerNormalization",
        "LpNormalization",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Softsign",
    ),
)
_BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "PRelu")
_COMPARED = ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or")
_REDUCED = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceL1")

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _elementwise),
    **dict.fromkeys(_COMPARED, _comparison),
    **dict.fromkeys(_REDUCED, _reduce),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    "Cast": _cast,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _transposed_conv,
    "DequantizeLinear": _dequantize,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Shape": _shape_of,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
