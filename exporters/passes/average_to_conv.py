"""Average pooling becomes the depthwise convolution that it is, for which engines have fast int8 kernels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.int8_flow import channels_of, int8_values, pixels_of
from edgecnn.exporters.passes.values import attribute, dimensions, is_op, set_constant

_POOL_ONLY = ("count_include_pad", "ceil_mode", "auto_pad")


class AverageToConv(Pass):
    """Writes AveragePool as a depthwise convolution whose weights are one over the window's size.

    Requires: two spatial dimensions, channels known, an input that would be held in int8, and every output a sum over the
    same number of values: no padding, or one that counts as zeros; no window that is cut off at the border. Ensures: no such
    node is left where the costs say that a convolution is cheaper.
    """

    name = "average-to-conv"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        in_int8 = int8_values(model.graph)
        pools = [node for node in model.graph if is_op(node, "AveragePool") and node.inputs[0] in in_int8]
        chosen = [node for node in pools if averages_evenly(node) and _pays(node)]
        for node in chosen:
            _become_depthwise(node)
        return bool(chosen)


def averages_evenly(pool: ir.Node) -> bool:
    """Tell whether every output of an AveragePool is a sum over the same number of values, as a convolution's is."""
    pads = attribute(pool, "pads", (0,))
    return (
        channels_of(pool.inputs[0]) is not None
        and len(attribute(pool, "kernel_shape", ())) == 2
        and (not any(pads) or attribute(pool, "count_include_pad", 0) == 1)
        and (attribute(pool, "ceil_mode", 0) == 0 or _fits_exactly(pool))
        and attribute(pool, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )


def _fits_exactly(pool: ir.Node) -> bool:
    """Tell whether windows end at the border anyway, so that rounding their number up changes nothing."""
    shape = dimensions(pool.inputs[0])
    pads = attribute(pool, "pads", (0, 0, 0, 0))
    strides, dilations = attribute(pool, "strides", (1, 1)), attribute(pool, "dilations", (1, 1))
    for axis, size in enumerate((shape or (None,) * 4)[2:]):
        if size is None:
            return False
        reach = dilations[axis] * (attribute(pool, "kernel_shape", (1, 1))[axis] - 1) + 1
        if (size + pads[axis] + pads[axis + 2] - reach) % strides[axis]:
            return False
    return True


def _pays(pool: ir.Node) -> bool:
    channels = channels_of(pool.inputs[0]) or 0
    elements, window = channels * pixels_of(pool.outputs[0]), int(np.prod(attribute(pool, "kernel_shape", (1, 1))))
    return channels >= INT8_COSTS.least_channels and INT8_COSTS.depthwise(elements, window) < INT8_COSTS.average(
        elements, window
    )


def _become_depthwise(pool: ir.Node) -> None:
    channels, kernel = channels_of(pool.inputs[0]), attribute(pool, "kernel_shape", (1, 1))
    assert channels is not None
    for name in _POOL_ONLY:
        pool.attributes.pop(name, None)
    pool.attributes.add(ir.AttrInt64("group", channels))
    pool.op_type = "Conv"
    set_constant(pool, 1, np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32))
