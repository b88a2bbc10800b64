"""What the quantizer knows of operators: which have weights, which only move values, which clip."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import attribute, constant, is_op, layer_bias, output_axis
from edgecnn.exporters.quantize.ranges import Range

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Layers with constant weights."""

AVERAGING = ("AveragePool", "GlobalAveragePool")

COMBINING = ("Add", "Mul", "Concat", *AVERAGING)
"""Nodes whose result has a range of its own."""

LOOKUP = ("Sigmoid", "LeakyRelu")
"""Functions of one value that engines read from a table of 256 entries when it comes in 8 bits."""

CARRYING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad")
"""Nodes whose output values are all among their input's (or zero), by position or by order."""

BOUNDING = "Clip"
"""A Clip that only bounds from above what starts at zero keeps the scale as well: it is a minimum of bytes."""

ANY = Range(-np.inf, np.inf)


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs of a node that carry activations: all of what combines, but for constants, else the first."""
    inputs = node.inputs if is_op(node, *COMBINING) else node.inputs[:1]
    return tuple(value for value in inputs if value is not None and constant(value) is None)


def constant_operands(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the constants that a sum or product takes."""
    if not is_op(node, "Add", "Mul"):
        return ()
    return tuple(value for value in node.inputs if value is not None and constant(value) is not None)


def has_weights(node: ir.Node, min_channels: int) -> bool:
    """Tell whether this is a layer whose weight and bias are float32 constants of the shapes that int8 layers take.

    Args:
        node: any node.
        min_channels: of the output of a convolution of more than one pixel.
    """
    if not is_op(node, *WEIGHTED) or len(node.inputs) < 2 or not data_inputs(node):
        return False
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != np.float32 or attribute(node, "transA", 0):
        return False
    if node.op_type != "Conv" and weight.ndim != 2:
        return False
    channels = weight.shape[output_axis(node)]
    is_window = node.op_type == "Conv" and int(np.prod(weight.shape[2:])) > 1
    return layer_bias(node, channels) is not None and (channels >= min_channels or not is_window)


def is_depthwise(node: ir.Node) -> bool:
    """Tell whether this is a convolution with one input channel per group."""
    weight = constant(node.inputs[1]) if is_op(node, "Conv") and len(node.inputs) > 1 else None
    return weight is not None and weight.shape[1] == 1 and attribute(node, "group", 1) > 1


def clip_range(node: ir.Node) -> Range | None:
    """Return what a node that only clips, at zero and possibly above, lets through; None for any other node.

    A range calibrated behind it never reaches beyond that, and so clips by itself.
    """
    if is_op(node, "Relu"):
        return Range(0.0, np.inf)
    if not is_op(node, "Clip") or len(node.inputs) < 2:
        return None
    low = constant(node.inputs[1])
    has_high = len(node.inputs) > 2 and node.inputs[2] is not None
    high = constant(node.inputs[2]) if has_high else np.asarray(np.inf)
    if low is None or high is None or float(low) != 0.0 or float(high) < 0.0:
        return None
    return Range(0.0, float(high))


def value_ranges(graph: ir.Graph) -> dict[ir.Value, Range]:
    """Return which values each tensor can hold at all, whatever the image, as far as activations limit them."""
    ranges: dict[ir.Value, Range] = {}
    for node in graph:
        found = ANY
        sources = [ranges.get(value, ANY) for value in data_inputs(node)]
        clip = clip_range(node)
        if clip is not None and sources:
            found = Range(0.0, min(clip.high, max(sources[0].high, 0.0)))
        elif sources and (is_op(node, "Concat") or (is_op(node, *CARRYING) and only_carries(node))):
            found = Range.around(min(source.low for source in sources), max(source.high for source in sources))
        ranges.update(dict.fromkeys(node.outputs, found))
    return ranges


def only_bounds(node: ir.Node, holds: Mapping[ir.Value, Range]) -> bool:
    """Tell whether a node is a Clip from zero of values that start there: the lesser of them and a constant.

    Args:
        node: any node.
        holds: which values each tensor can hold, see `value_ranges`.
    """
    if not is_op(node, BOUNDING) or len(node.inputs) != 3 or clip_range(node) is None:
        return False
    source = node.inputs[0]
    return source is not None and holds.get(source, ANY).low == 0.0


def only_carries(node: ir.Node) -> bool:
    """Tell whether a carrying node brings in no other value than zero, and hands out nothing but values."""
    if any(output.uses() for output in node.outputs[1:]):
        return False
    if node.op_type == "MaxPool":
        return attribute(node, "storage_order", 0) == 0
    if node.op_type == "Pad":
        filling = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(())
        return attribute(node, "mode", "constant") == "constant" and filling is not None and float(filling) == 0.0
    return True
