"""Reshapes and transpositions that undo each other, or change nothing, go."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import attribute, bypass, is_op

_RESHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that give the same values in the same order, in another shape."""


class CancelReshapes(Pass):
    """Removes what exporters leave around operators that want another shape.

    1. A reshape to the shape that the tensor has, and a transposition that keeps the order.
    2. Two reshapes in a row of which the second gives back the shape before the first.
    3. Two transpositions in a row that together keep the order.

    Requires: for 1 and 2 shapes that are known but for named dimensions. Ensures: none of these is left.
    """

    name = "cancel-reshapes"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        changed = False
        for node in tuple(model.graph):
            if is_op(node, *_RESHAPING):
                changed |= _skip_former(node)
                changed |= _shape(node.inputs[0]) == _shape(node.outputs[0]) is not None and bypass(node)
            elif is_op(node, "Transpose"):
                changed |= _cancel_transposition(node)
        return changed


def _shape(value: ir.Value | None) -> tuple[int | str, ...] | None:
    """Return a shape of numbers and names, None where something is not known at all."""
    if value is None or value.shape is None:
        return None
    sizes = tuple(d if isinstance(d, int) else d.value for d in value.shape)
    return None if None in sizes else tuple(size for size in sizes if size is not None)


def _skip_former(node: ir.Node) -> bool:
    """Let the second of two reshapes that gives back the shape before both read that; the first may have other readers."""
    former = node.inputs[0].producer() if node.inputs[0] is not None else None
    if former is None or not is_op(former, *_RESHAPING):
        return False
    before, after = _shape(former.inputs[0]), _shape(node.outputs[0])
    if before is None or before != after:
        return False
    node.replace_input_with(0, former.inputs[0])
    return True


def _cancel_transposition(node: ir.Node) -> bool:
    order = attribute(node, "perm", ())
    if order and order == tuple(sorted(order)):
        return bypass(node)
    former = node.inputs[0].producer() if node.inputs[0] is not None else None
    if former is None or not is_op(former, "Transpose"):
        return False
    first = attribute(former, "perm", ())
    if not order or len(first) != len(order) or any(first[axis] != place for place, axis in enumerate(order)):
        return False
    node.replace_input_with(0, former.inputs[0])
    return bypass(node)
