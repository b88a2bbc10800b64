"""A channel shuffle goes into the weights of the convolutions around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.channel_shuffle import (
    Shuffle,
    find_shuffle,
    is_depthwise,
    is_layer,
    permute_inputs,
    permute_outputs,
    widen,
)
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.int8_flow import pixels_of
from edgecnn.exporters.passes.values import attribute, bypass, constant, is_op, only_use

_CHANNELWISE = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "MaxPool", "AveragePool", "Identity")
"""Operators that treat every channel alike, and none with regard to another."""


class FoldShuffle(Pass):
    """Removes Reshape, Transpose, Reshape that only change the order of channels (ShuffleNet).

    The order moves along the only path, through operators that treat channels alike and depthwise convolutions, whose
    weights it permutes, to a convolution before or behind: there it permutes output or input channels. One in groups cannot
    mix them, and is widened to one group for that, where this costs less than the shuffle; the cheaper end is taken.

    Requires: sizes known but for the batch, layers with constant weight and bias. Ensures: no shuffle is left that the costs
    say a convolution takes for less.
    """

    name = "fold-shuffle"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        found = [find_shuffle(node) for node in model.graph]
        return sum(_fold(shuffle) for shuffle in found if shuffle is not None) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A convolution that can take a shuffle.

    Attributes:
        layer: it.
        between: the depthwise convolutions on the way there.
        before: it comes before the shuffle.
        extra_ns: what widening it costs.
    """

    layer: ir.Node
    between: tuple[ir.Node, ...]
    before: bool
    extra_ns: float


def _fold(shuffle: Shuffle) -> bool:
    elements = len(shuffle.order) * pixels_of(shuffle.source)
    ends = [end for end in (_behind(shuffle), _before(shuffle)) if end is not None]
    if not ends:
        return False
    end = min(ends, key=lambda end: end.extra_ns)
    if end.extra_ns >= INT8_COSTS.shuffle(elements):
        return False
    order = shuffle.order
    if attribute(end.layer, "group", 1) != 1:
        widen(end.layer)
    if end.before:
        permute_outputs(end.layer, order)
    else:
        permute_inputs(end.layer, order)
    for layer in end.between:
        permute_outputs(layer, order if end.before else np.argsort(order))
    _remove(shuffle)
    return True


def _remove(shuffle: Shuffle) -> None:
    """Take the three nodes out: with them bypassed, each equals its input."""
    turn = shuffle.last.inputs[0].producer()  # type: ignore[union-attr]
    assert turn is not None and turn.inputs[0] is not None
    first = turn.inputs[0].producer()
    assert first is not None
    for node in (first, turn, shuffle.last):
        bypass(node)


def _behind(shuffle: Shuffle) -> _End | None:
    return _end(_readers(shuffle.last.outputs[0]), before=False)


def _before(shuffle: Shuffle) -> _End | None:
    return _end(_makers(shuffle), before=True)


def _end(path: Iterator[ir.Node], *, before: bool) -> _End | None:
    """Return where a path through channelwise operators and depthwise convolutions ends in another convolution."""
    between = []
    for node in path:
        if is_depthwise(node):
            between.append(node)
        elif is_layer(node):
            return _End(layer=node, between=tuple(between), before=before, extra_ns=widening_ns(node))
        elif not is_op(node, *_CHANNELWISE):
            return None
    return None


def _readers(value: ir.Value) -> Iterator[ir.Node]:
    """Yield the only reader of a value, the only reader of what that makes, and so on."""
    node = only_use(value)
    while node is not None and node.inputs[0] is value and len(node.outputs) == 1:
        yield node
        value = node.outputs[0]
        node = only_use(value)


def _makers(shuffle: Shuffle) -> Iterator[ir.Node]:
    """Yield the maker of the shuffled value, the maker of what that reads, and so on, while nothing else reads them."""
    value: ir.Value | None = shuffle.source
    while value is not None and only_use(value) is not None:
        node = value.producer()
        if node is None or len(node.outputs) != 1:
            return
        yield node
        value = node.inputs[0]


def widening_ns(layer: ir.Node) -> float:
    """Return by how many nanoseconds a convolution in groups gets slower in int8 with one group; negative: faster."""
    costs = group_costs(layer)
    return costs[1] - costs[attribute(layer, "group", 1)]


def group_costs(layer: ir.Node) -> dict[int, float]:
    """Return nanoseconds of a convolution in int8 by the groups that it can be written in: the divisors of what it has."""
    weight, groups = constant(layer.inputs[1]), attribute(layer, "group", 1)
    assert weight is not None
    outputs, inputs, pixels = len(weight), weight.shape[1] * groups, pixels_of(layer.outputs[0])
    window = int(np.prod(weight.shape[2:]))
    divisors = [count for count in range(1, groups + 1) if groups % count == 0]
    return {count: INT8_COSTS.convolution(pixels, inputs, outputs, window, count) for count in divisors}
