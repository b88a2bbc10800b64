"""Convolutions in groups become ones of fewer groups where the int8 kernel is faster at that."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.channel_shuffle import is_depthwise, is_layer, widen
from edgecnn.exporters.passes.fold_shuffle import group_costs
from edgecnn.exporters.passes.values import attribute


class WidenGroups(Pass):
    """Joins groups of a convolution, all or some, and fills its weights up with zeros (ShuffleNet, ResNeXt).

    That multiplies the products, for a kernel that need not gather and scatter the channels of so many groups: for int8 only,
    as the fp32 kernels lose by it. Requires: constant weight and bias. Ensures: every such node has the number of groups that
    the costs say is the fastest.
    """

    name = "widen-groups"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        grouped = [node for node in model.graph if is_layer(node) and attribute(node, "group", 1) > 1]
        return sum(_join(node) for node in grouped if not is_depthwise(node)) > 0


def _join(layer: ir.Node) -> bool:
    costs = group_costs(layer)
    best = min(costs, key=lambda count: costs[count])
    if best == attribute(layer, "group", 1):
        return False
    widen(layer, best)
    return True
