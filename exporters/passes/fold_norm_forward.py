"""Batch normalization straight before a convolution becomes part of that convolution's weight and bias."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.fold_batch_norm import norm_affine
from edgecnn.exporters.passes.values import Array, attribute, bypass, constant, is_op, layer_bias, set_constant


class FoldNormForward(Pass):
    """Folds batch normalization into the convolutions that read it: W' = W * factor, b' = b + sum of W * shift.

    Requires: every reader is a Conv with constant weight and bias, and pads nothing, for the zeros beyond the border would
    be normalized too (they may stay where the normalization adds nothing). Ensures: such a node is gone.
    Computed in float64 and rounded once, to the weight's type.
    """

    name = "fold-norm-forward"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_fold(node) for node in tuple(model.graph) if is_op(node, "BatchNormalization")) > 0


def _fold(norm: ir.Node) -> bool:
    affine = norm_affine(norm)
    result = norm.outputs[0]
    readers = [use.node for use in result.uses()]
    if affine is None or not readers or result.is_graph_output():
        return False
    factor, shift = affine
    if not all(_can_take(reader, result, len(factor), adds=bool(shift.any())) for reader in readers):
        return False
    for reader in readers:
        _take(reader, factor, shift)
    return bypass(norm)


def _can_take(layer: ir.Node, source: ir.Value, channels: int, *, adds: bool) -> bool:
    if not is_op(layer, "Conv") or layer.inputs[0] is not source:
        return False
    weight = constant(layer.inputs[1])
    pads = any(attribute(layer, "pads", (0,))) or attribute(layer, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return (
        weight is not None
        and weight.shape[1] * attribute(layer, "group", 1) == channels
        and layer_bias(layer, weight.shape[0]) is not None
        and not (pads and adds)
    )


def _take(layer: ir.Node, factor: Array, shift: Array) -> None:
    found = constant(layer.inputs[1])
    assert found is not None
    bias = layer_bias(layer, found.shape[0])
    assert bias is not None
    weight = found.astype(np.float64)
    groups, window = attribute(layer, "group", 1), (1,) * (weight.ndim - 2)
    per_group = len(weight) // groups
    factors = factor.reshape(groups, -1).repeat(per_group, axis=0).reshape(*weight.shape[:2], *window)
    shifts = shift.reshape(groups, -1).repeat(per_group, axis=0).reshape(*weight.shape[:2], *window)
    added = (weight * shifts).reshape(len(weight), -1).sum(axis=1)
    set_constant(layer, 1, (weight * factors).astype(found.dtype))
    set_constant(layer, 2, (bias + added).astype(found.dtype))
