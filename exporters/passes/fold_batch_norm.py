"""Batch normalization after a convolution or linear layer becomes part of that layer's weight and bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import (
    Array,
    attribute,
    bypass,
    constant,
    is_op,
    layer_bias,
    only_use,
    output_axis,
    set_constant,
)


class FoldBatchNorm(Pass):
    """Folds batch normalization into the layer before.

    That is y = (x - mean) / sqrt(var + epsilon) * scale + shift (Ioffe, Szegedy 2015, algorithm 2), all constants. Only
    where it changes nothing else: the layer is a Conv or Gemm with constant weight and bias whose output nothing else
    reads. Computed in float64 and rounded once, to the weight's type.
    """

    name = "fold-batch-norm"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_fold(node) for node in tuple(model.graph) if is_op(node, "BatchNormalization")) > 0


def _fold(norm: ir.Node) -> bool:
    source = norm.inputs[0]
    layer = source.producer() if source is not None else None
    if source is None or layer is None or only_use(source) is not norm:
        return False
    affine = norm_affine(norm)
    weight = constant(layer.inputs[1]) if is_op(layer, "Conv", "Gemm") else None
    if affine is None or weight is None:
        return False
    factor, shift = affine
    bias = layer_bias(layer, len(factor))
    if bias is None or attribute(layer, "beta", 1.0) != 1.0:
        return False
    shape = [1] * weight.ndim
    shape[output_axis(layer)] = -1
    set_constant(layer, 1, (weight.astype(np.float64) * factor.reshape(shape)).astype(weight.dtype))
    set_constant(layer, 2, (bias.astype(np.float64) * factor + shift).astype(weight.dtype))
    return bypass(norm)


def _is_inference(norm: ir.Node) -> bool:
    spare_outputs = any(output.uses() or output.is_graph_output() for output in norm.outputs[1:])
    return not attribute(norm, "training_mode", 0) and not spare_outputs


def norm_affine(norm: ir.Node) -> tuple[Array, Array] | None:
    """Return what a batch normalization multiplies by and adds, float64 [channels] each.

    None where they are not constant, and where the node is to train.
    """
    arrays = [constant(value) for value in norm.inputs[1:5]]
    if not _is_inference(norm) or len(arrays) != 4 or any(array is None for array in arrays):
        return None
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return factor, shift - mean * factor
