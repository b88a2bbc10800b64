"""What a graph rewrite is: read this first when you add one.

A pass is one file in this folder with a class that has `name` and `apply`; it goes into `DEFAULT_PASSES` or is called
by the part that needs it. A pass changes the model in place and never changes what the model computes, its inputs or
its outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import onnx_ir as ir

from edgecnn.errors import ExportError

Signature = tuple[tuple[str | None, ...], tuple[str | None, ...]]


class Pass(ABC):
    """A rewrite of the graph, checked before and after.

    Subclasses write `apply`, and `requires` and `ensures` where they have more to hold than the graph being well
    formed.

    Attributes:
        name: how the pass is called in messages and in a file's lineage.
        keeps_outputs: the outputs stay; False for the few passes that are asked for to change them.
    """

    name: str
    keeps_outputs: bool = True

    def __call__(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed.

        Raises:
            ExportError: the model is not what the pass requires, or the pass broke it.
        """
        self.requires(model)
        before = signature(model)
        modified = self.apply(model)
        inputs, outputs = signature(model)
        if inputs != before[0] or (self.keeps_outputs and outputs != before[1]):
            raise ExportError(f"pass {self.name} changed the model's inputs or outputs")
        self.ensures(model)
        return modified

    @abstractmethod
    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""

    def requires(self, model: ir.Model) -> None:
        """Raise ExportError unless the model is fit for this pass; by default, unless it is well formed."""
        check_well_formed(model, f"before pass {self.name}")

    def ensures(self, model: ir.Model) -> None:
        """Raise ExportError unless the pass kept its promise; by default, unless the model is well formed."""
        check_well_formed(model, f"after pass {self.name}")


def signature(model: ir.Model) -> Signature:
    """Return the names of the model's inputs and outputs, in order."""
    inputs = tuple(value.name for value in model.graph.inputs)
    return inputs, tuple(value.name for value in model.graph.outputs)


def check_well_formed(model: ir.Model, when: str) -> None:
    """Raise ExportError unless every value is made before it is read, and every name is given once."""
    graph = model.graph
    known: set[ir.Value] = {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                raise ExportError(f"{when}: node {label(node)} reads {value.name!r} before it is made")
        known.update(node.outputs)
    for value in graph.outputs:
        if value not in known:
            raise ExportError(f"{when}: nothing makes the output {value.name!r}")
    names = [value.name for value in known if value.name]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise ExportError(f"{when}: two values are called {twice!r}")


def label(node: ir.Node) -> str:
    """Return how a node is called in messages: its name and operator."""
    return f"{node.name or node.outputs[0].name} ({node.op_type})"
