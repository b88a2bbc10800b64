"""Removes what has no effect on the outputs: dead nodes, unused initialisers, Identity, Dropout at inference."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import bypass, constant, is_op

_TRAINING_MODE = 2


class DropUnused(Pass):
    """Removes what has no effect.

    1. A node that computes nothing, Identity or Dropout outside of training, gives way to its input.
    2. Then nodes and initialisers that no output depends on go.

    An Identity stays where the model hands out one of its inputs or constants.
    """

    name = "drop-unused"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        bypassed = [bypass(node) for node in tuple(model.graph) if _computes_nothing(node)]
        return RemoveUnusedNodesPass()(model).modified or any(bypassed)


def _computes_nothing(node: ir.Node) -> bool:
    if is_op(node, "Identity"):
        return True
    if not is_op(node, "Dropout"):
        return False
    mask_is_read = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    return not mask_is_read and not _may_train(node)


def _may_train(node: ir.Node) -> bool:
    """Tell whether a Dropout is, or could be switched to, training mode (an input since operator set 12)."""
    switch = node.inputs[_TRAINING_MODE] if len(node.inputs) > _TRAINING_MODE else None
    if switch is None:
        return False
    value = constant(switch)
    return value is None or bool(value)
