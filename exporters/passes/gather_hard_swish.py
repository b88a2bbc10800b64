"""HardSigmoid and HardSwish that an exporter wrote out in small steps become one node each again."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import attribute, constant, insert_before, is_op, only_use, replace_output

_OPSET = 14
"""The operator set that HardSwish came with."""

_ALPHA, _BETA = 1 / 6, 0.5
_CLOSE = 1e-6


class GatherHardSwish(Pass):
    """Finds the forms that exporters write and puts HardSigmoid and HardSwish (ONNX) in their place.

    1. clip(x + 3, 0, 6) / 6 is HardSigmoid with alpha 1/6 and beta 1/2.
    2. x * HardSigmoid(x) of these is HardSwish, and so is x * clip(x + 3, 0, 6) / 6, from operator set 14 on.

    Requires: constants; between the steps nothing else reads. Ensures: none of these forms is left.
    """

    name = "gather-hard-swish"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        changed = [_gather_sigmoid(node) for node in tuple(model.graph)]
        if (model.opset_imports.get("") or 0) >= _OPSET:
            changed += [_gather_swish(node) for node in tuple(model.graph)]
        return any(changed)


def _gather_sigmoid(node: ir.Node) -> bool:
    """Rewrite the division of a clip(x + 3, 0, 6)."""
    clipped = _divided_by_six(node)
    source = None if clipped is None else _relu6_of_shifted(clipped)
    if clipped is None or source is None or only_use(clipped) is not node:
        return False
    attributes = {"alpha": _ALPHA, "beta": _BETA}
    new = insert_before(node, "HardSigmoid", [source], attributes, wish=f"{node.outputs[0].name}_hard_sigmoid")
    replace_output(node, new)
    return True


def _gather_swish(node: ir.Node) -> bool:
    """Rewrite a product of x and its HardSigmoid, or a sixth of the product of x and clip(x + 3, 0, 6)."""
    product = _divided_by_six(node)
    if product is not None and only_use(product) is node:
        source = _product_with(product.producer(), _relu6_of_shifted)
    else:
        source = _product_with(node, _hard_sigmoid_of)
    if source is None:
        return False
    replace_output(node, insert_before(node, "HardSwish", [source], wish=f"{node.outputs[0].name}_hard_swish"))
    return True


def _product_with(node: ir.Node | None, source_of: object) -> ir.Value | None:
    """Return x if a node is the product of x and a function of x, else None."""
    if node is None or not is_op(node, "Mul"):
        return None
    for x, other in (node.inputs, tuple(reversed(node.inputs))):
        if x is not None and other is not None and callable(source_of) and source_of(other) is x:
            return x
    return None


def _hard_sigmoid_of(value: ir.Value) -> ir.Value | None:
    node = value.producer()
    if node is None or not is_op(node, "HardSigmoid") or only_use(value) is None:
        return None
    fits = abs(attribute(node, "alpha", 0.2) - _ALPHA) < _CLOSE and abs(attribute(node, "beta", 0.5) - _BETA) < _CLOSE
    return node.inputs[0] if fits else None


def _relu6_of_shifted(value: ir.Value) -> ir.Value | None:
    """Return x if a value is clip(x + 3, 0, 6), else None."""
    clip = value.producer()
    if clip is None or not is_op(clip, "Clip") or len(clip.inputs) < 3:
        return None
    if not (_is_number(clip.inputs[1], 0.0) and _is_number(clip.inputs[2], 6.0)):
        return None
    shifted = clip.inputs[0]
    add = shifted.producer() if shifted is not None else None
    if shifted is None or add is None or not is_op(add, "Add") or only_use(shifted) is not clip:
        return None
    for x, other in (add.inputs, tuple(reversed(add.inputs))):
        if _is_number(other, 3.0):
            return x
    return None


def _divided_by_six(node: ir.Node) -> ir.Value | None:
    """Return x if a node is x / 6 or a product of x and 1 / 6, else None."""
    if is_op(node, "Div"):
        return node.inputs[0] if _is_number(node.inputs[1], 6.0) else None
    if is_op(node, "Mul"):
        for x, other in (node.inputs, tuple(reversed(node.inputs))):
            if _is_number(other, 1 / 6):
                return x
    return None


def _is_number(value: ir.Value | None, number: float) -> bool:
    found = constant(value)
    return (
        found is not None and found.size == 1 and found.ndim <= 1 and bool(np.isclose(float(found.reshape(())), number))
    )
