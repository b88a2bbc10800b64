"""What stands behind the logits, or no longer does; for who asks for it: these passes change what a model gives.

The description of the outputs in the file (`edgecnn.specs.ModelSpec`) is for the caller to change with them.
"""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.errors import ExportError
from edgecnn.exporters.passes.base import Pass, check_well_formed
from edgecnn.exporters.passes.values import attribute, bypass, dimensions, is_op, unique_name

PROBABILITIES = "probabilities"
CLASS = "class"


class Head(Pass):
    """A change to the only output, float [N, classes], of a model."""

    keeps_outputs = False

    def requires(self, model: ir.Model) -> None:
        """Raise ExportError unless the model is well formed and has one output of two dimensions."""
        check_well_formed(model, f"before pass {self.name}")
        shapes = [dimensions(value) for value in model.graph.outputs]
        if len(shapes) != 1 or shapes[0] is None or len(shapes[0]) != 2:
            raise ExportError(f"pass {self.name} wants one output [N, classes], got {shapes}", "leave this pass out")


class AddSoftmax(Head):
    """Puts Softmax over the classes behind the logits: output "probabilities"; nothing where there is one already."""

    name = "add-softmax"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        if is_op(model.graph.outputs[0].producer(), "Softmax"):
            return False
        old = model.graph.outputs[0]
        node = ir.node("Softmax", [old], {"axis": 1}, name=unique_name(model.graph, PROBABILITIES))
        _append(model.graph, node, ir.Shape(old.shape or ()), old.type)
        return True


class AddArgmax(Head):
    """Gives the index of the greatest class, int64 [N], in place of the logits: output "class"."""

    name = "add-argmax"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        old = model.graph.outputs[0]
        assert old.shape is not None
        attributes = {"axis": 1, "keepdims": 0}
        node = ir.node("ArgMax", [old], attributes, name=unique_name(model.graph, CLASS))
        _append(model.graph, node, ir.Shape(old.shape[:1]), ir.TensorType(ir.DataType.INT64))
        return True


class DropSoftmax(Head):
    """Takes a Softmax over the classes at the end away: the output, of the same name, is the logits then.

    It keeps the order of the classes, so that top-1 is the same, and int8 engines have no fast form of it.
    """

    name = "drop-softmax"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        node = model.graph.outputs[0].producer()
        if node is None or not is_op(node, "Softmax") or attribute(node, "axis", -1) not in (1, -1):
            return False
        return bypass(node)


def _append(graph: ir.Graph, node: ir.Node, shape: ir.Shape, kind: ir.TypeProtocol | None) -> None:
    result = node.outputs[0]
    result.name, result.shape, result.type = node.name, shape, kind
    graph.append(node)
    graph.outputs[0] = result
