"""The node that is to blame for values that are not finite."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import label
from edgecnn.exporters.passes.values import constant
from edgecnn.exporters.quantize.operators import WEIGHTED
from edgecnn.exporters.quantize.probe import Probe, with_outputs
from edgecnn.runtimes.base import Array


def blame(model: ir.Model, feed: Array, images: str) -> str:
    """Return which node is the first, in graph order, to give what is not finite, in words; empty where none does.

    Args:
        model: a graph with one input, float32 inside.
        feed: that input.
        images: what the input is, in words: "the calibration images".
    """
    values = [value for node in model.graph for value in node.outputs if value.name and _is_float(value)]
    names = [str(value.name) for value in values]
    tensors = Probe(with_outputs(model, names), names).run(feed)
    for node in model.graph:
        if all(np.isfinite(tensors[value.name]).all() for value in node.outputs if value.name in tensors):
            continue
        broken = [str(value.name) for value in node.inputs if value is not None and _is_broken(value)]
        if broken and node.op_type in WEIGHTED:
            return f"node {label(node)} has weights that are not finite: {', '.join(broken)}"
        return f"node {label(node)} gives values that are not finite on {images}"
    return ""


def _is_float(value: ir.Value) -> bool:
    return value.dtype in (None, ir.DataType.FLOAT)


def _is_broken(value: ir.Value) -> bool:
    array = constant(value)
    return array is not None and array.dtype.kind == "f" and not np.isfinite(array).all()
