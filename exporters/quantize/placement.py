"""Which nodes run in int8, which tensors carry a quantizer, and which of these share one scale.

Engines differ in what they fuse: `edge_rules` are for those that want quantizers on every edge between int8 nodes,
`input_rules` for those that want them before layers with weights only; the form of the target decides.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgecnn.exporters.quantize.edge_rules import place_on_edges
from edgecnn.exporters.quantize.input_rules import place_on_inputs
from edgecnn.exporters.quantize.operators import WEIGHTED, data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.targets import DEFAULT_TARGET, Form, find_target

__all__ = ["WEIGHTED", "Placement", "data_inputs", "place"]


def place(
    model: ir.Model,
    *,
    form: Form | None = None,
    keep_float: Collection[str] = (),
    min_channels: int | None = None,
) -> Placement:
    """Return what to quantize in an fp32 graph.

    Args:
        model: the graph.
        form: of the int8 file, None for that of target "cpu-x86".
        keep_float: names of nodes that stay float.
        min_channels: convolutions of more than one pixel with fewer output channels stay float; 1 quantizes all, None takes
            what the form says.
    """
    form = form or find_target(DEFAULT_TARGET).form
    least = form.min_channels if min_channels is None else min_channels
    rules = place_on_inputs if form.edges == "inputs" else place_on_edges
    return rules(model, form=form, keep_float=keep_float, min_channels=least)
