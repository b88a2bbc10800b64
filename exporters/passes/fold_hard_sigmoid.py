"""HardSigmoid behind a layer becomes that layer, scaled, and a clip from 0 to 1, which a quantizer does for nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.layer_scaling import can_scale, scale_layer
from edgecnn.exporters.passes.values import add_constant, attribute, insert_before, is_op, only_use, replace_output


class FoldHardSigmoid(Pass):
    """Rewrites max(0, min(1, alpha * x + beta)) (ONNX) behind a layer: weight and bias take alpha and beta.

    As in the squeeze-and-excitation of MobileNetV3. Requires: a Conv or Gemm with constant weight and bias whose output
    nothing else reads. Ensures: no HardSigmoid is left behind such a layer.
    """

    name = "fold-hard-sigmoid"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_rewrite(node) for node in tuple(model.graph) if is_op(node, "HardSigmoid")) > 0


def _rewrite(node: ir.Node) -> bool:
    source = node.inputs[0]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or only_use(source) is not node or not can_scale(layer):
        return False
    scale_layer(layer, attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5))
    assert isinstance(node.graph, ir.Graph)
    name = node.outputs[0].name
    bounds = [add_constant(node.graph, f"{name}_{end}", np.asarray(end, np.float32)) for end in (0, 1)]
    replace_output(node, insert_before(node, "Clip", [source, *bounds], wish=f"{name}_clip"))
    return True
