"""Removes what an exporter noted about its own work: folders of the machine, stack traces, source graphs."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass


class StripTraces(Pass):
    """Clears documentation strings and metadata of nodes, values and the graph; the model's own metadata stays."""

    name = "strip-traces"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        graph = model.graph
        cleared = [_clear(graph)]
        for value in (*graph.inputs, *graph.initializers.values()):
            cleared.append(_clear(value))
        for node in graph:
            cleared.append(_clear(node))
            cleared.extend(_clear(output) for output in node.outputs)
        return any(cleared)


def _clear(thing: ir.Graph | ir.Node | ir.Value) -> bool:
    found = bool(thing.metadata_props or thing.doc_string)
    thing.metadata_props.clear()
    thing.doc_string = None
    return found
