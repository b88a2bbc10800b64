"""What operators that rearrange tensors, or compute shapes, make of the types of their inputs (docs/Operators.md of ONNX)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecnn.onnxmodel.graph import OnnxNode
from edgecnn.onnxmodel.tensortypes import Rule, Shape, TensorType, Values, axes_of, integer, ints, need, remember


def _concat(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    parts, axis = [need(one) for one in inputs], integer(node, "axis", 0)
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    remember(node, values, lambda: np.concatenate([values[name] for name in node.inputs], axis))
    return (TensorType(parts[0].dtype, tuple(shape)),)


def _reshape(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, asked = need(inputs[0]), [int(size) for size in values[node.inputs[1]].reshape(-1)]
    if not integer(node, "allowzero", 0):
        asked = [data.shape[place] if size == 0 else size for place, size in enumerate(asked)]
    rest = math.prod(size for size in asked if size != -1)
    whole = math.prod(data.shape)
    return (TensorType(data.dtype, tuple(whole // rest if size == -1 else size for size in asked)),)


def _flatten(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, axis = need(inputs[0]), integer(node, "axis", 1)
    axis += len(data.shape) if axis < 0 else 0
    return (TensorType(data.dtype, (math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))),)


def _transpose(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data = need(inputs[0])
    order = ints(node, "perm", tuple(reversed(range(len(data.shape)))))
    return (TensorType(data.dtype, tuple(data.shape[place] for place in order)),)


def _squeeze(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, axes = need(inputs[0]), axes_of(node, 1, values)
    rank = len(data.shape)
    gone = {i for i, size in enumerate(data.shape) if size == 1} if axes is None else {axis % rank for axis in axes}
    remember(
        node, values, lambda: values[node.inputs[0]].reshape([s for i, s in enumerate(data.shape) if i not in gone])
    )
    return (TensorType(data.dtype, tuple(size for i, size in enumerate(data.shape) if i not in gone)),)


def _unsqueeze(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, axes = need(inputs[0]), axes_of(node, 1, values) or ()
    rank = len(data.shape) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(data.shape)
    shape = tuple(1 if axis in new else next(old) for axis in range(rank))
    remember(node, values, lambda: values[node.inputs[0]].reshape(shape))
    return (TensorType(data.dtype, shape),)


def _pad(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data = need(inputs[0])
    rank = len(data.shape)
    named = len(node.inputs) > 1
    pads = [int(size) for size in values[node.inputs[1]].reshape(-1)] if named else list(ints(node, "pads", ()))
    where = axes_of(node, 3, values) or tuple(range(rank))
    shape = list(data.shape)
    for place, axis in enumerate(where):
        shape[axis % rank] += pads[place] + pads[place + len(where)]
    return (TensorType(data.dtype, tuple(shape)),)


def _slice_parts(node: OnnxNode, values: Values) -> tuple[Shape, Shape, Shape, Shape]:
    """Return starts, ends, axes and steps: attributes before operator set 10, inputs since."""
    if len(node.inputs) < 3:
        starts, ends = ints(node, "starts", ()), ints(node, "ends", ())
        return starts, ends, ints(node, "axes", tuple(range(len(starts)))), (1,) * len(starts)
    given = [tuple(values[name].reshape(-1).tolist()) if name else None for name in node.inputs[1:]]
    begin, end, axes, steps = [*given, None, None][:4]
    if begin is None or end is None:
        raise LookupError
    return begin, end, tuple(range(len(begin))) if axes is None else axes, steps or (1,) * len(begin)


def _slice(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data = need(inputs[0])
    starts, ends, axes, steps = _slice_parts(node, values)
    cut = [slice(None)] * len(data.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[axis] = slice(start, end, step)
    remember(node, values, lambda: values[node.inputs[0]][tuple(cut)])
    sizes = [len(range(*one.indices(size))) for one, size in zip(cut, data.shape, strict=True)]
    return (TensorType(data.dtype, tuple(sizes)),)


def _split(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, axis, count = need(inputs[0]), integer(node, "axis", 0), len(node.outputs)
    whole = data.shape[axis]
    even = -(-whole // count)
    sizes = [min(even, whole - even * place) for place in range(count)]
    if len(node.inputs) > 1 and node.inputs[1]:
        sizes = values[node.inputs[1]].reshape(-1).tolist()
    elif "split" in node.attributes:
        sizes = list(ints(node, "split", ()))
    found = []
    for size in sizes:
        shape = list(data.shape)
        shape[axis] = int(size)
        found.append(TensorType(data.dtype, tuple(shape)))
    return found


def _shape_of(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    shape = need(inputs[0]).shape
    part = np.array(shape[slice(integer(node, "start", 0), integer(node, "end", len(shape)))], np.int64)
    values[node.outputs[0]] = part
    return (TensorType("int64", part.shape),)


def _gather(node: OnnxNode, inputs: Sequence[TensorType | None], values: Values) -> Sequence[TensorType]:
    data, indices, axis = need(inputs[0]), need(inputs[1]), integer(node, "axis", 0)
    axis += len(data.shape) if axis < 0 else 0
    remember(node, values, lambda: np.take(values[node.inputs[0]], values[node.inputs[1]], axis))
    return (TensorType(data.dtype, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])),)


FORM_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape_of,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator -> its rule."""
