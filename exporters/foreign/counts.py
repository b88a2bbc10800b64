"""Trained values and multiply-adds of a graph, counted as the zoo counts those of its networks."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.macs import node_macs
from edgecnn.exporters.passes.values import constant, is_op


def count_params(model: ir.Model) -> int:
    """Return how many trained values a graph has: weights, biases, scales and shifts; no running statistics.

    To be counted before batch norms are folded. Constants of arithmetic count where they are more than one value.
    """
    found: dict[str, int] = {}
    for node in model.graph:
        for value in node.inputs[1:3] if is_op(node, "BatchNormalization") else node.inputs:
            array = constant(value)
            if value is not None and array is not None and array.dtype.kind == "f" and array.size > 1:
                found[str(value.name)] = array.size
    return sum(found.values())


def count_macs(model: ir.Model) -> int | None:
    """Return the multiply-adds of convolutions and linear layers for one image, None where shapes are not known."""
    found = [node_macs(node) for node in model.graph if is_op(node, "Conv", "ConvTranspose", "Gemm", "MatMul")]
    known = [macs for macs in found if macs is not None]
    return sum(known) if len(known) == len(found) else None
