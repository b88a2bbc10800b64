"""Local response normalization becomes an average over channels and two square roots, much faster than a power."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.int8_flow import channels_of
from edgecnn.exporters.passes.values import add_constant, attribute, insert_before, is_op, replace_output

_BETA = 0.75
_OPSET = 13
"""From which on Unsqueeze takes its axes as an input."""


class ExpandResponseNorm(Pass):
    """Writes LRN with exponent 0.75 as x / (sqrt(s) * sqrt(sqrt(s))).

    There s = bias + alpha * (sum of the squares of `size` channels) / size (Krizhevsky et al. 2012, section 3.3; ONNX
    divides alpha by size): an average over channels, zeros beyond the first and last.
    Requires: four dimensions, an odd size, exponent 0.75, operator set 13. Ensures: no such LRN is left.
    """

    name = "expand-response-norm"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        if (model.opset_imports.get("") or 0) < _OPSET:
            return False
        chosen = [node for node in model.graph if is_op(node, "LRN") and _fits(node)]
        for node in chosen:
            _rewrite(node)
        return bool(chosen)


def _fits(node: ir.Node) -> bool:
    odd = attribute(node, "size", 0) % 2 == 1
    return odd and channels_of(node.inputs[0]) is not None and bool(np.isclose(attribute(node, "beta", _BETA), _BETA))


def _rewrite(node: ir.Node) -> None:
    graph, source, name = node.graph, node.inputs[0], node.outputs[0].name
    assert isinstance(graph, ir.Graph) and source is not None and source.shape is not None
    size, deep = attribute(node, "size", 1), ir.Shape([*source.shape[:1], 1, *source.shape[1:]])
    axis = add_constant(graph, f"{name}_axis", np.asarray([1], np.int64))
    two, alpha, bias = (
        add_constant(graph, f"{name}_{what}", np.asarray(value, np.float32))
        for what, value in (
            ("two", 2.0),
            ("alpha", attribute(node, "alpha", 1e-4)),
            ("bias", attribute(node, "bias", 1.0)),
        )
    )
    square = insert_before(node, "Pow", [source, two], wish=f"{name}_square")
    square = insert_before(node, "Unsqueeze", [square, axis], wish=f"{name}_deep", shape=deep)
    mean = insert_before(node, "AveragePool", [square], _window(size), wish=f"{name}_mean")
    mean = insert_before(node, "Squeeze", [mean, axis], wish=f"{name}_flat", shape=ir.Shape(source.shape))
    scaled = insert_before(node, "Mul", [mean, alpha], wish=f"{name}_scaled")
    total = insert_before(node, "Add", [scaled, bias], wish=f"{name}_sum")
    root = insert_before(node, "Sqrt", [total], wish=f"{name}_root")
    fourth = insert_before(node, "Sqrt", [root], wish=f"{name}_fourth_root")
    power = insert_before(node, "Mul", [root, fourth], wish=f"{name}_power")
    replace_output(node, insert_before(node, "Div", [source, power], wish=f"{name}_quotient"))


def _window(size: int) -> dict[str, ir.Attr]:
    """Return the attributes of an average over `size` channels that counts zeros beyond the first and last."""
    side = size // 2
    return {
        "kernel_shape": ir.AttrInt64s("kernel_shape", [size, 1, 1]),
        "pads": ir.AttrInt64s("pads", [side, 0, 0, side, 0, 0]),
        "count_include_pad": ir.AttrInt64("count_include_pad", 1),
    }
