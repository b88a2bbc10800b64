"""A mean over height and width becomes GlobalAveragePool, which engines run in their image layouts and in int8."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import attribute, constant, dimensions, is_op

_RANK = 4
_SPATIAL = (2, 3)


class GlobalPool(Pass):
    """Turns ReduceMean over the last two of four dimensions, dimensions kept, into GlobalAveragePool."""

    name = "global-pool"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        means = [node for node in tuple(model.graph) if _is_spatial_mean(node)]
        for node in means:
            _replace(node)
        return bool(means)


def _is_spatial_mean(node: ir.Node) -> bool:
    if not is_op(node, "ReduceMean") or attribute(node, "keepdims", 1) != 1:
        return False
    shape = dimensions(node.inputs[0])
    if shape is None or len(shape) != _RANK:
        return False
    return sorted(axis % _RANK for axis in _axes(node)) == list(_SPATIAL)


def _axes(node: ir.Node) -> tuple[int, ...]:
    """Return the constant axes; an attribute before operator set 18, an input from there on."""
    if len(node.inputs) > 1:
        axes = constant(node.inputs[1])
        return () if axes is None else tuple(int(axis) for axis in axes)
    return attribute(node, "axes", ())


def _replace(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    old = node.outputs[0]
    pool = ir.node("GlobalAveragePool", [node.inputs[0]], name=node.name)
    new = pool.outputs[0]
    new.shape, new.type, name = old.shape, old.type, old.name
    graph.insert_after(node, pool)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    old.name, new.name = None, name
