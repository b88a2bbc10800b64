"""Which tensors of an fp32 graph an int8 engine would hold in bytes: where it pays to keep them so."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.values import constant, dimensions, is_op

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_CARRYING = (
    *("Relu", "Clip", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid"),
    *("Add", "Concat", "Mul", "BatchNormalization"),
    *("AveragePool", "GlobalAveragePool", "MaxPool"),
    *("Flatten", "Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)

USUAL_PIXELS = 14 * 14
"""Height times width that decisions are taken for where the graph does not say them: the middle of a network for 224."""


def int8_values(graph: ir.Graph) -> set[ir.Value]:
    """Return what layers with constant weights give, and what is made of that by operators with an int8 form."""
    found: set[ir.Value] = set()
    for node in graph:
        if is_op(node, *_WEIGHTED):
            fits = len(node.inputs) > 1 and constant(node.inputs[1]) is not None
        else:
            fits = is_op(node, *_CARRYING) and _reads_only(node, found)
        if fits:
            found.update(node.outputs)
    return found


def _reads_only(node: ir.Node, found: set[ir.Value]) -> bool:
    computed = [value for value in node.inputs if value is not None and constant(value) is None]
    return bool(computed) and all(value in found for value in computed)


def channels_of(value: ir.Value | None) -> int | None:
    """Return the channels of a tensor [N, C, H, W], None where they, or its rank, are not known or are others."""
    shape = dimensions(value)
    return shape[1] if shape is not None and len(shape) == 4 else None


def pixels_of(value: ir.Value | None) -> int:
    """Return height times width of a tensor [N, C, H, W], `USUAL_PIXELS` where they are not known."""
    shape = dimensions(value)
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return USUAL_PIXELS
    return shape[2] * shape[3]
