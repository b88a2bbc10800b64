"""A Pad between quantizers works on the bytes themselves."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.bytes_between import parameters_of, quantize_level, same_parameters
from edgecnn.exporters.passes.values import Array, add_constant, attribute, constant, is_op, only_use


class PadInInt8(Pass):
    """Turns DequantizeLinear, Pad, QuantizeLinear of one scale into a Pad of bytes, with the byte of what it fills in.

    ONNX Runtime drops the quantizers around other nodes that only move values, but not around Pad.
    Requires: a constant to fill in, or a mode that takes it from the tensor.
    """

    name = "pad-in-int8"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_rewrite(node) for node in tuple(model.graph) if is_op(node, "Pad")) > 0


def _rewrite(pad: ir.Node) -> bool:
    before, after = pad.inputs[0].producer() if pad.inputs[0] else None, only_use(pad.outputs[0])
    if before is None or after is None or not is_op(before, "DequantizeLinear") or not is_op(after, "QuantizeLinear"):
        return False
    parameters, filling = parameters_of(before), _filling(pad)
    if parameters is None or not same_parameters(parameters, parameters_of(after)) or filling is None:
        return False
    assert isinstance(pad.graph, ir.Graph)
    pad.replace_input_with(0, before.inputs[0])
    _fill_with(pad, before, quantize_level(float(filling), float(parameters[0]), parameters[1]))
    pad.outputs[0].type = after.outputs[0].type
    after.outputs[0].replace_all_uses_with(pad.outputs[0])
    pad.graph.remove(after, safe=True)
    return True


def _filling(pad: ir.Node) -> Array | None:
    """Return what a Pad fills in, zero where it does not say or takes it from the tensor; None where it is computed."""
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    if value is None or attribute(pad, "mode", "constant") != "constant":
        return np.zeros((), np.float32)
    found = constant(value)
    return None if found is None else found.reshape(())


def _fill_with(pad: ir.Node, before: ir.Node, level: Array) -> None:
    """Let a Pad of bytes fill in one of them; the zero point is there already."""
    assert isinstance(pad.graph, ir.Graph)
    is_zero = level == constant(before.inputs[2])
    pad.resize_inputs(max(3, len(pad.inputs)))
    filled = before.inputs[2] if is_zero else add_constant(pad.graph, f"{pad.outputs[0].name}_filling", level)
    pad.replace_input_with(2, filled)
