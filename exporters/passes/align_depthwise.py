"""Channels around depthwise convolutions are filled up to a multiple of 16, which the int8 kernels take at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.channel_shuffle import is_depthwise, is_layer
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.int8_flow import channels_of, pixels_of
from edgecnn.exporters.passes.values import attribute, constant, is_op, layer_bias, set_constant

_ALONG = (
    *("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish"),
    *("Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"),
)
"""Operators that treat every channel alike; their constants are numbers."""


class AlignDepthwise(Pass):
    """Adds channels of zeros to tensors that depthwise convolutions work on (MobileNetV3's 72, 120, 184 and 200).

    The dense convolutions that make these tensors give further channels of zeros, and those that read them give these no
    weight. With another number of channels ONNX Runtime gathers every window into a matrix first.

    Requires: a tensor that only dense convolutions make, and only they read, with operators between that treat channels
    alike. Ensures: no such tensor is left that the costs say is faster with more channels.
    """

    name = "align-depthwise"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        done: set[ir.Node] = set()
        changed = False
        for node in tuple(model.graph):
            if node not in done and is_depthwise(node) and _is_ragged(node):
                region = _find_region(node)
                done |= region.along
                if region.is_closed and _saved_ns(region) > 0:
                    _widen(region)
                    changed = True
        return changed


@dataclass(slots=True)
class _Region:
    """Tensors that must have the same channels.

    Attributes:
        channels: of each.
        values: the tensors.
        along: nodes within: depthwise convolutions and operators that treat channels alike.
        makers: dense convolutions whose output is in it.
        readers: dense convolutions whose input is in it.
        is_closed: nothing else makes or reads one of them.
    """

    channels: int
    values: set[ir.Value] = field(default_factory=set)
    along: set[ir.Node] = field(default_factory=set)
    makers: set[ir.Node] = field(default_factory=set)
    readers: set[ir.Node] = field(default_factory=set)
    is_closed: bool = True

    @property
    def more(self) -> int:
        """How many channels there are to add."""
        return -self.channels % INT8_COSTS.least_channels

    def depthwise(self) -> list[ir.Node]:
        """Return the depthwise convolutions within."""
        return [node for node in self.along if node.op_type == "Conv"]


def _is_ragged(layer: ir.Node) -> bool:
    return attribute(layer, "group", 1) % INT8_COSTS.least_channels != 0


def _find_region(start: ir.Node) -> _Region:
    """Return all that has the channels of a depthwise convolution because that has."""
    region = _Region(attribute(start, "group", 1))
    waiting: list[ir.Value | None] = [start.outputs[0]]
    while waiting and region.is_closed:
        value = waiting.pop()
        if value in region.values:
            continue
        if value is None or channels_of(value) != region.channels or value.is_graph_output():
            region.is_closed = False
            break
        region.values.add(value)
        waiting += _cross(region, value.producer(), value, region.makers)
        for use in value.uses():
            waiting += _cross(region, use.node, value, region.readers)
    return region


def _cross(region: _Region, node: ir.Node | None, value: ir.Value, border: set[ir.Node]) -> list[ir.Value | None]:
    """Take in a node beside a tensor, and return the further tensors that it leads to."""
    if node is not None and _goes_along(node):
        region.along.add(node)
        computed = [source for source in node.inputs[: _data_count(node)] if constant(source) is None]
        return [*computed, *node.outputs]
    reads_elsewhere = node is not None and border is region.readers and node.inputs[0] is not value
    if node is None or reads_elsewhere or not is_layer(node) or attribute(node, "group", 1) != 1:
        region.is_closed = False
    else:
        border.add(node)
    return []


def _data_count(node: ir.Node) -> int:
    return 2 if is_op(node, "Add", "Mul") else 1


def _goes_along(node: ir.Node) -> bool:
    if is_depthwise(node):
        return True
    constants = [constant(value) for value in node.inputs if value is not None]
    return is_op(node, *_ALONG) and len(node.outputs) == 1 and all(a is None or a.size == 1 for a in constants)


def _saved_ns(region: _Region) -> float:
    """Return by how many nanoseconds the region gets faster with its channels filled up."""
    saved = 0.0
    for node in region.depthwise():
        weight = constant(node.inputs[1])
        assert weight is not None
        window, pixels = int(np.prod(weight.shape[2:])), pixels_of(node.outputs[0])
        saved += INT8_COSTS.depthwise(pixels * region.channels, window, aligned=False)
        saved -= INT8_COSTS.depthwise(pixels * (region.channels + region.more), window)
    for node in region.along:
        saved -= region.more * pixels_of(node.outputs[0]) * INT8_COSTS.pointwise_element_ns
    for node in (*region.makers, *region.readers):
        saved -= _products(node) * region.more / region.channels / INT8_COSTS.multiply_adds_per_ns
    return saved


def _products(layer: ir.Node) -> int:
    weight = constant(layer.inputs[1])
    assert weight is not None
    return weight.size * pixels_of(layer.outputs[0])


def _widen(region: _Region) -> None:
    for node in (*region.makers, *region.depthwise()):
        _pad_outputs(node, region.more)
    for node in region.readers:
        weight = constant(node.inputs[1])
        assert weight is not None
        set_constant(node, 1, np.pad(weight, [(0, 0), (0, region.more), *[(0, 0)] * (weight.ndim - 2)]))
    for node in region.depthwise():
        node.attributes.add(ir.AttrInt64("group", region.channels + region.more))
    for value in region.values:
        assert value.shape is not None
        shape = list(value.shape)
        value.shape = ir.Shape([shape[0], region.channels + region.more, *shape[2:]])


def _pad_outputs(layer: ir.Node, more: int) -> None:
    weight = constant(layer.inputs[1])
    assert weight is not None
    if len(layer.inputs) > 2 and layer.inputs[2] is not None:
        bias = layer_bias(layer, len(weight))
        assert bias is not None
        set_constant(layer, 2, np.pad(bias, (0, more)))
    set_constant(layer, 1, np.pad(weight, [(0, more), *[(0, 0)] * (weight.ndim - 1)]))
