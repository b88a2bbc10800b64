"""A Pad between quantizers works on the bytes themselves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import constant, is_op, only_use


class PadInInt8(Pass):
    """Turns DequantizeLinear, Pad with zeros, QuantizeLinear of one scale into a Pad with the zero point.

    ONNX Runtime drops the quantizers around other nodes that only move values, but not around Pad.
    """

    name = "pad-in-int8"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_rewrite(node) for node in tuple(model.graph) if is_op(node, "Pad")) > 0


def _rewrite(pad: ir.Node) -> bool:
    before, after = pad.inputs[0].producer() if pad.inputs[0] else None, only_use(pad.outputs[0])
    if before is None or after is None or not is_op(before, "DequantizeLinear") or not is_op(after, "QuantizeLinear"):
        return False
    if not _same_parameters(before, after):
        return False
    pad.replace_input_with(0, before.inputs[0])
    pad.resize_inputs(max(3, len(pad.inputs)))
    pad.replace_input_with(2, before.inputs[2])
    pad.outputs[0].type = after.outputs[0].type
    after.outputs[0].replace_all_uses_with(pad.outputs[0])
    assert pad.graph is not None
    pad.graph.remove(after, safe=True)
    return True


def _same_parameters(first: ir.Node, second: ir.Node) -> bool:
    """Tell whether two quantizers have equal constant scales and zero points, neither left to its default."""
    mine = [constant(value) for value in first.inputs[1:]]
    theirs = [constant(value) for value in second.inputs[1:]]
    if len(mine) != 2 or len(theirs) != 2:
        return False
    return all(
        one is not None and other is not None and np.array_equal(one, other)
        for one, other in zip(mine, theirs, strict=True)
    )
