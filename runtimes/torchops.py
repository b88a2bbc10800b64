"""ONNX operator -> torch: each function takes a node's attributes and its inputs, and returns its output or outputs.

The meaning of each is that of the ONNX operator specification (onnx/docs/Operators.md), operator sets 13 and up. An input
that a node leaves out is None. Where torch has no kernel for integers, float32 holds their values exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from edgecnn.runtimes.torchlayers import LAYERS
from edgecnn.runtimes.torchshapes import SHAPES, axes_of, only

Attributes = Mapping[str, Any]
Tensor = torch.Tensor

# Of onnx.TensorProto.DataType; what Cast may ask for.
_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


def _dropout(attributes: Attributes, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor:
    if training is not None and bool(training):
        raise NotImplementedError("Dropout that drops")
    return x


def _clip(attributes: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is not None:
        x = torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _hard_sigmoid(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0, 1)


def _hard_swish(attributes: Attributes, x: Tensor) -> Tensor:
    return x * torch.clamp(x * (1 / 6) + 0.5, 0, 1)


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=attributes.get("approximate", "none"))


def _prelu(attributes: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _div(attributes: Attributes, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def folded(attributes: Attributes, first: Tensor, *rest: Tensor) -> Tensor:
        for other in rest:
            first = function(first, other)
        return first

    return folded


def _mean(attributes: Attributes, *values: Tensor) -> Tensor:
    return _fold(torch.add)(attributes, *values) / len(values)


def _softmax(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda attributes, x: function(x, dim=attributes.get("axis", -1))


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduced(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = axes_of(attributes, axes)
        if not over:
            if attributes.get("noop_with_empty_axes", 0):
                return x
            over = list(range(x.ndim))
        return function(x, dim=over, keepdim=bool(attributes.get("keepdims", 1)))

    return reduced


def _arg_max(attributes: Attributes, x: Tensor) -> Tensor:
    axis, last = attributes.get("axis", 0), attributes.get("select_last_index", 0)
    found = torch.argmax(x.flip(axis) if last else x, dim=axis, keepdim=bool(attributes.get("keepdims", 1)))
    return x.shape[axis] - 1 - found if last else found


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return one value, or one per channel along an axis, in a shape that fits x."""
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _quantize(attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Return saturate(round(x / scale) + zero point), rounding half to even."""
    only(attributes, block_size=0, output_dtype=0)
    dtype = torch.uint8 if zero is None else zero.dtype
    axis = attributes.get("axis", 1)
    steps = torch.round(x / _along(scale, x, axis))
    if zero is not None:
        steps = steps + _along(zero, x, axis)
    limits = torch.iinfo(dtype)
    return torch.clamp(steps, limits.min, limits.max).to(dtype)


def _dequantize(attributes: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    only(attributes, block_size=0, output_dtype=0)
    axis = attributes.get("axis", 1)
    steps = x.to(torch.int32)
    if zero is not None:
        steps = steps - _along(zero, x, axis).to(torch.int32)
    return steps.to(scale.dtype) * _along(scale, x, axis)


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda attributes, *values: function(*values)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    **LAYERS,
    **SHAPES,
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "ArgMax": _arg_max,
    "Cast": lambda attributes, x: x.to(_DTYPES[attributes["to"]]),
    "Ceil": _plain(torch.ceil),
    "Clip": _clip,
    "Concat": lambda attributes, *values: torch.cat(values, dim=attributes["axis"]),
    "DequantizeLinear": _dequantize,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": lambda attributes, x: F.elu(x, attributes.get("alpha", 1.0)),
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Floor": _plain(torch.floor),
    "Gelu": _gelu,
    "Greater": _plain(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Identity": lambda attributes, x: x,
    "LeakyRelu": lambda attributes, x: F.leaky_relu(x, attributes.get("alpha", 0.01)),
    "Less": _plain(torch.lt),
    "Log": _plain(torch.log),
    "LogSoftmax": _softmax(F.log_softmax),
    "MatMul": _plain(torch.matmul),
    "Max": _fold(torch.maximum),
    "Mean": _mean,
    "Min": _fold(torch.minimum),
    "Mish": _plain(F.mish),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Or": _plain(torch.logical_or),
    "PRelu": _prelu,
    "Pow": lambda attributes, x, power: torch.pow(x, power).to(x.dtype),
    "QuantizeLinear": _quantize,
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Round": _plain(torch.round),
    "Selu": lambda attributes, x: (
        attributes.get("gamma", 1.0507009873554805)
        * torch.where(x > 0, x, attributes.get("alpha", 1.6732632423543772) * torch.expm1(x))
    ),
    "Sigmoid": _plain(torch.sigmoid),
    "Softmax": _softmax(F.softmax),
    "Softplus": lambda attributes, x: torch.logaddexp(x, torch.zeros((), dtype=x.dtype)),
    "Softsign": _plain(F.softsign),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Sum": _fold(torch.add),
    "Tanh": _plain(torch.tanh),
    "Where": _plain(torch.where),
}
"""Operators of the domain ai.onnx that backend torch computes."""

SEVERAL_OUTPUTS = frozenset({"Split"})
"""Of these, the operators that give every output of a node; the others give the first."""
