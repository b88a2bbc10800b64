"""HardSwish behind a layer becomes a clip, a shift and a product, which are cheap on bytes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.layer_scaling import can_scale, scale_layer
from edgecnn.exporters.passes.values import add_constant, insert_before, is_op, only_use, replace_output

ROOT = math.sqrt(6.0)


class SplitHardSwish(Pass):
    """Writes x * relu6(x + 3) / 6 (Howard et al. 2019, section 5.2) as (t - 3 / r) * min(t, r), r the root of 6.

    There t = relu((x + 3) / r), factor and shift taken into the layer that makes x; below x = -3 the second factor is zero.
    In int8 the relu vanishes into the quantizer of t. Then t - 3 / r is t read with another zero point, and min(t, r) is a
    minimum of bytes, see `edgecnn.exporters.passes.bytes_between`: one product remains of five operations.

    Requires: a Conv or Gemm with constant weight and bias whose output nothing else reads. Ensures: no HardSwish is left
    behind such a layer.
    """

    name = "split-hard-swish"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_rewrite(node) for node in tuple(model.graph) if is_op(node, "HardSwish")) > 0


def _rewrite(node: ir.Node) -> bool:
    source = node.inputs[0]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or only_use(source) is not node or not can_scale(layer):
        return False
    scale_layer(layer, 1 / ROOT, 3 / ROOT)
    assert isinstance(node.graph, ir.Graph)
    name = node.outputs[0].name
    zero, high, shift = (
        add_constant(node.graph, f"{name}_{what}", np.asarray(value, np.float32))
        for what, value in (("zero", 0.0), ("root", ROOT), ("shift", -3 / ROOT))
    )
    rising = insert_before(node, "Relu", [source], wish=f"{name}_rising")
    capped = insert_before(node, "Clip", [rising, zero, high], wish=f"{name}_capped")
    shifted = insert_before(node, "Add", [rising, shift], wish=f"{name}_shifted")
    replace_output(node, insert_before(node, "Mul", [shifted, capped], wish=f"{name}_product"))
    return True
