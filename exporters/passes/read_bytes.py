"""A quantizer that gives the model's own bytes back is left out."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.centre_pixels import pixel_limits
from edgecnn.exporters.passes.values import constant, is_op


class ReadBytes(Pass):
    """Lets what reads quantized pixels read the pixels, so that the graph starts with bytes and no float image is made.

    Requires: Cast, Sub of a whole number and QuantizeLinear with a step of 1 and that number as its zero point.
    Ensures: nothing reads the result of that QuantizeLinear.
    """

    name = "read-bytes"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_rewrite(node) for node in tuple(model.graph) if is_op(node, "QuantizeLinear")) > 0


def _rewrite(quantizer: ir.Node) -> bool:
    centred = quantizer.inputs[0]
    limits = pixel_limits(centred) if centred is not None else None
    scale, zero = (constant(value) for value in (*quantizer.inputs[1:3], None, None)[:2])
    if limits is None or centred is None or scale is None or zero is None or zero.dtype != "uint8":
        return False
    if scale.size != 1 or float(scale.reshape(())) != 1.0 or int(zero.reshape(())) != -limits[0]:
        return False
    subtraction = centred.producer()
    cast = subtraction.inputs[0].producer() if subtraction is not None and subtraction.inputs[0] is not None else None
    if cast is None or not is_op(cast, "Cast") or cast.inputs[0] is None:
        return False
    quantizer.outputs[0].replace_all_uses_with(cast.inputs[0])
    assert quantizer.graph is not None
    quantizer.graph.remove(quantizer, safe=True)
    return True
