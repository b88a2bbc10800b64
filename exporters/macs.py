"""Multiply-adds of the layers of a graph, and which share of them runs in int8."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgecnn.exporters.passes.values import constant, dimensions, is_op


def layer_macs(model: ir.Model) -> dict[ir.Node, int]:
    """Return layer -> multiply-adds for one image, of every Conv, Gemm and MatMul with constant weights.

    Layers of unknown output size are left out: the shape of their input is not fixed.
    """
    layers = [
        node for node in model.graph if is_op(node, "Conv", "Gemm", "MatMul") and constant(node.inputs[1]) is not None
    ]
    found = {node: node_macs(node) for node in layers}
    return {node: macs for node, macs in found.items() if macs is not None}


def int8_share(macs: Mapping[ir.Node, int], quantized: Collection[ir.Node]) -> float | None:
    """Return the share of the multiply-adds in these nodes, 0..1; None where none is known."""
    total = sum(macs.values())
    return sum(count for node, count in macs.items() if node in quantized) / total if total else None


def node_macs(node: ir.Node) -> int | None:
    """Return the multiply-adds of a Conv, ConvTranspose, Gemm or MatMul for one image; None where shapes are not known.

    That is its weights times the positions that they are applied at: of the output, or of the input they are spread from.
    """
    weight = dimensions(node.inputs[1]) if len(node.inputs) > 1 else None
    shape = dimensions(node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0])
    if weight is None or shape is None:
        return None
    positions = {"Gemm": (), "MatMul": shape[1:-1]}.get(node.op_type, shape[2:])
    sizes = [size for size in (*weight, *positions) if size is not None]
    return math.prod(sizes) if len(sizes) == len(weight) + len(positions) else None
