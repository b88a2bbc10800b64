"""Multiplying and shifting what a layer gives by changing its constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import attribute, constant, is_op, layer_bias, output_axis, set_constant


def can_scale(layer: ir.Node) -> bool:
    """Tell whether a node is a Conv or Gemm with constant weight and bias, neither multiplied by a factor of its own."""
    if not is_op(layer, "Conv", "Gemm"):
        return False
    weight = constant(layer.inputs[1])
    if weight is None or (layer.op_type == "Gemm" and weight.ndim != 2):
        return False
    plain = attribute(layer, "alpha", 1.0) == 1.0 and attribute(layer, "beta", 1.0) == 1.0
    return plain and layer_bias(layer, weight.shape[output_axis(layer)]) is not None


def scale_layer(layer: ir.Node, factor: float, shift: float) -> None:
    """Let a layer that `can_scale` give factor times what it gave, plus shift; rounded once, to the weight's type."""
    weight = constant(layer.inputs[1])
    assert weight is not None
    bias = layer_bias(layer, weight.shape[output_axis(layer)])
    assert bias is not None
    set_constant(layer, 1, (weight.astype(np.float64) * factor).astype(weight.dtype))
    set_constant(layer, 2, (bias.astype(np.float64) * factor + shift).astype(weight.dtype))
