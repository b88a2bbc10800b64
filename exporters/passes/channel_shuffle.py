"""Finding channel shuffles, and permuting the channels of layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import (
    Array,
    attribute,
    constant,
    dimensions,
    is_op,
    layer_bias,
    only_use,
    set_constant,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffle:
    """A channel shuffle: Reshape, Transpose, Reshape of a tensor [N, C, H, W].

    Attributes:
        source: what is shuffled.
        last: the second Reshape, whose output is the result.
        order: int64 [C]: channel i of the result is channel order[i] of the source.
    """

    source: ir.Value
    last: ir.Node
    order: Array


def find_shuffle(node: ir.Node) -> Shuffle | None:
    """Return the shuffle that ends in a node, else None; between its steps nothing else reads.

    Channel i * C / groups + j goes to j * groups + i (Zhang et al. 2018, section 3.1).
    """
    steps = _steps_before(node)
    if steps is None:
        return None
    first, turn = steps
    source, grouped, result = (dimensions(value) for value in (first.inputs[0], first.outputs[0], node.outputs[0]))
    if source is None or grouped is None or result is None or len(source) != 4 or len(grouped) != 5 or len(result) != 4:
        return None
    groups, each = grouped[1:3]
    if groups is None or each is None or source[1] != groups * each or result[1] != source[1]:
        return None
    if source[2:] != grouped[3:] or source[2:] != result[2:] or None in source[2:]:
        return None
    if attribute(turn, "perm", ()) != (0, 2, 1, 3, 4):
        return None
    order = np.arange(groups * each).reshape(groups, each).T.reshape(-1)
    assert first.inputs[0] is not None
    return Shuffle(source=first.inputs[0], last=node, order=order)


def _steps_before(last: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """Return Reshape and Transpose that lead to a Reshape and nowhere else."""
    if not is_op(last, "Reshape") or last.inputs[0] is None:
        return None
    turn = last.inputs[0].producer()
    if turn is None or not is_op(turn, "Transpose") or only_use(last.inputs[0]) is not last or turn.inputs[0] is None:
        return None
    first = turn.inputs[0].producer()
    if first is None or not is_op(first, "Reshape") or only_use(turn.inputs[0]) is not turn:
        return None
    return first, turn


def is_depthwise(node: ir.Node | None) -> bool:
    """Tell whether a node is a Conv with constants in which every output channel sees the input channel of its index."""
    if node is None or not is_layer(node):
        return False
    weight = constant(node.inputs[1])
    return weight is not None and weight.shape[1] == 1 and attribute(node, "group", 1) == weight.shape[0]


def is_layer(node: ir.Node | None) -> bool:
    """Tell whether a node is a Conv with constant weight and bias."""
    if node is None or not is_op(node, "Conv"):
        return False
    weight = constant(node.inputs[1])
    return weight is not None and layer_bias(node, len(weight)) is not None


def permute_outputs(layer: ir.Node, order: Array) -> None:
    """Let output channel i of a layer of one group, or of a depthwise one, be what was channel order[i]."""
    weight = constant(layer.inputs[1])
    assert weight is not None
    set_constant(layer, 1, weight[order])
    if len(layer.inputs) > 2 and layer.inputs[2] is not None:
        bias = layer_bias(layer, len(weight))
        assert bias is not None
        set_constant(layer, 2, bias[order])


def permute_inputs(layer: ir.Node, order: Array) -> None:
    """Let a layer of one group expect at channel order[i] what it expected at channel i."""
    weight = constant(layer.inputs[1])
    assert weight is not None
    permuted = np.empty_like(weight)
    permuted[:, order] = weight
    set_constant(layer, 1, permuted)


def widen(layer: ir.Node, groups: int = 1) -> None:
    """Turn a grouped convolution into one of fewer groups, with zeros where a channel was of another group.

    Args:
        layer: it.
        groups: a divisor of its groups.
    """
    weight, before = constant(layer.inputs[1]), attribute(layer, "group", 1)
    assert weight is not None
    outputs, each = weight.shape[:2]
    joined, rows = before // groups, outputs // before
    wide = np.zeros((outputs, each * joined, *weight.shape[2:]), weight.dtype)
    for group in range(before):
        channels, place = slice(group * rows, (group + 1) * rows), group % joined * each
        wide[channels, place : place + each] = weight[channels]
    set_constant(layer, 1, wide)
    layer.attributes.add(ir.AttrInt64("group", groups))
