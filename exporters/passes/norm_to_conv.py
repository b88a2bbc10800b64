"""Batch normalization that no layer before it can take becomes a depthwise 1 x 1 convolution, which runs in int8."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.fold_batch_norm import norm_affine
from edgecnn.exporters.passes.int8_flow import channels_of, int8_values, pixels_of
from edgecnn.exporters.passes.values import Array, is_op, set_constant


class NormToConv(Pass):
    """Writes batch normalization with constant parameters as the depthwise convolution that it is.

    That of a pre-activation network, behind a sum or a concatenation (DenseNet, ResNet v2). Engines have no int8 form of it,
    so that it costs a way out of int8 and back.

    Requires: four dimensions, channels known, an input that would be held in int8. Ensures: no such node is left where the
    costs say that a convolution is cheaper.
    """

    name = "norm-to-conv"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        in_int8 = int8_values(model.graph)
        norms = [node for node in model.graph if is_op(node, "BatchNormalization") and node.inputs[0] in in_int8]
        return sum(_rewrite(node) for node in norms) > 0


def _rewrite(norm: ir.Node) -> bool:
    affine = norm_affine(norm)
    channels = channels_of(norm.inputs[0])
    if affine is None or channels != len(affine[0]):
        return False
    elements = channels * pixels_of(norm.inputs[0])
    if INT8_COSTS.depthwise(elements, window=1) >= INT8_COSTS.float_norm(elements):
        return False
    _become_depthwise(norm, *affine)
    return True


def _become_depthwise(norm: ir.Node, factor: Array, shift: Array) -> None:
    set_constant(norm, 1, factor.astype(np.float32).reshape(-1, 1, 1, 1))
    set_constant(norm, 2, shift.astype(np.float32))
    norm.resize_inputs(3)
    norm.resize_outputs(1)
    norm.op_type = "Conv"
    norm.attributes.clear()
    norm.attributes.add(ir.AttrInt64("group", len(factor)))
    norm.attributes.add(ir.AttrInt64s("kernel_shape", [1, 1]))
