"""What layers make of the types of their inputs, as the ONNX specification (docs/Operators.md) defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecnn.onnxmodel.graph import OnnxNode
from edgecnn.onnxmodel.header import DTYPES
from edgecnn.onnxmodel.tensortypes import Rule, Shape, TensorType, Values, axes_of, integer, ints, need


def _window(node: OnnxNode, sizes: Shape, kernel: Shape) -> Shape:
    """Return the positions of a sliding window along each axis (Operators.md, Conv and MaxPool)."""
    rank = len(kernel)
    strides, dilations = ints(node, "strides", (1,) * rank), ints(node, "dilations", (1,) * rank)
    pads, auto = ints(node, "pads", (0,) * 2 * rank), node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    if auto == "VALID":
        pads = (0,) * 2 * rank
    ceil = integer(node, "ceil_mode", 0)
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


def _conv(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, weight = need(inputs[0]), need(inputs[1])
    return (TensorType(data.dtype, (data.shape[0], weight.shape[0], *_window(node, data.shape[2:], weight.shape[2:]))),)


def _transposed_conv(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, weight = need(inputs[0]), need(inputs[1])
    if "output_shape" in node.attributes or node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise LookupError
    rank, kernel = len(data.shape) - 2, weight.shape[2:]
    strides, dilations = ints(node, "strides", (1,) * rank), ints(node, "dilations", (1,) * rank)
    pads, extra = ints(node, "pads", (0,) * 2 * rank), ints(node, "output_padding", (0,) * rank)
    sizes = tuple(
        strides[i] * (data.shape[i + 2] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[i + rank]
        for i in range(rank)
    )
    return (TensorType(data.dtype, (data.shape[0], weight.shape[1] * integer(node, "group", 1), *sizes)),)


def _pool(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data = need(inputs[0])
    out = TensorType(data.dtype, (*data.shape[:2], *_window(node, data.shape[2:], ints(node, "kernel_shape", ()))))
    return (out, TensorType("int64", out.shape))


def _global_pool(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data = need(inputs[0])
    return (TensorType(data.dtype, (*data.shape[:2], *(1 for _ in data.shape[2:]))),)


def _gemm(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    left, right = need(inputs[0]), need(inputs[1])
    rows = left.shape[1] if integer(node, "transA", 0) else left.shape[0]
    columns = right.shape[0] if integer(node, "transB", 0) else right.shape[1]
    return (TensorType(left.dtype, (rows, columns)),)


def _matmul(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    left, right = need(inputs[0]), need(inputs[1])
    if min(len(left.shape), len(right.shape)) < 2:
        raise LookupError
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    return (TensorType(left.dtype, (*outer, left.shape[-2], right.shape[-1])),)


def _same(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType | None]:
    return (inputs[0],)


def _elementwise(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    shapes = [need(one).shape for one in inputs]
    return (TensorType(need(inputs[0]).dtype, tuple(np.broadcast_shapes(*shapes))),)


def _comparison(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    return (TensorType("bool", _elementwise(node, inputs, values)[0].shape),)


def _where(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    return (TensorType(need(inputs[1]).dtype, _elementwise(node, inputs, values)[0].shape),)


def _quantize(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    zero = inputs[2] if len(inputs) > 2 else None
    return (TensorType(zero.dtype if zero else "uint8", need(inputs[0]).shape),)


def _dequantize(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    return (TensorType(need(inputs[1]).dtype, need(inputs[0]).shape),)


def _cast(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    return (TensorType(DTYPES[integer(node, "to", 0)], need(inputs[0]).shape),)


def _reduce(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, axes = need(inputs[0]), axes_of(node, 1, values)
    rank = len(data.shape)
    gone = {axis % rank for axis in (range(rank) if axes is None else axes)}
    keep = integer(node, "keepdims", 1)
    sizes = [1 if axis in gone else size for axis, size in enumerate(data.shape) if keep or axis not in gone]
    return (TensorType(data.dtype, tuple(sizes)),)


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

LAYER_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _elementwise),
    **dict.fromkeys(_COMPARED, _comparison),
    **dict.fromkeys(_REDUCED, _reduce),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    "Cast": _cast,
    "Conv": _conv,
    "ConvTranspose": _transposed_conv,
    "DequantizeLinear": _dequantize,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "QuantizeLinear": _quantize,
    "Where": _where,
}
"""Operator -> its rule."""
