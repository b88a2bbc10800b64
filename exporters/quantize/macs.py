"""Multiply-adds of the layers of a graph, and which share of them runs in int8."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import constant, dimensions, is_op


def layer_macs(model: ir.Model) -> dict[ir.Node, int]:
    """Return layer -> multiply-adds for one image, of every Conv, Gemm and MatMul with constant weights.

    Layers of unknown output size are left out: the shape of their input is not fixed.
    """
    found = {node: _macs(node) for node in model.graph if is_op(node, "Conv", "Gemm", "MatMul")}
    return {node: macs for node, macs in found.items() if macs is not None}


def int8_share(macs: Mapping[ir.Node, int], quantized: Collection[ir.Node]) -> float | None:
    """Return the share of the multiply-adds in these nodes, 0..1; None where none is known."""
    total = sum(macs.values())
    return sum(count for node, count in macs.items() if node in quantized) / total if total else None


def _macs(node: ir.Node) -> int | None:
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    shape = dimensions(node.outputs[0])
    if weight is None or shape is None:
        return None
    if node.op_type != "Conv":
        rows = shape[1:-1] if node.op_type == "MatMul" else ()
        return None if None in rows else weight.size * int(np.prod([d for d in rows if d], initial=1))
    if None in shape[2:]:
        return None
    return int(weight.size * np.prod([d for d in shape[2:] if d is not None]))
