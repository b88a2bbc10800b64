"""A mean over height and width becomes GlobalAveragePool, which engines run in their image layouts and in int8."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import attribute, constant, dimensions, insert_before, is_op, replace_output

_RANK = 4
_SPATIAL = (2, 3)


class GlobalPool(Pass):
    """Turns two means over height and width into GlobalAveragePool.

    1. ReduceMean over the last two of four dimensions; where it drops them, a Flatten follows.
    2. AveragePool whose window is the whole image.
    """

    name = "global-pool"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        means = [node for node in tuple(model.graph) if _is_spatial_mean(node) or _covers_all(node)]
        for node in means:
            _replace(node)
        return bool(means)


def _is_spatial_mean(node: ir.Node) -> bool:
    if not is_op(node, "ReduceMean"):
        return False
    shape = dimensions(node.inputs[0])
    if shape is None or len(shape) != _RANK:
        return False
    return sorted(axis % _RANK for axis in _axes(node)) == list(_SPATIAL)


def _covers_all(node: ir.Node) -> bool:
    """Tell whether an AveragePool has one window, which is the image and nothing else."""
    shape = dimensions(node.inputs[0]) if is_op(node, "AveragePool") else None
    return (
        shape is not None
        and len(shape) == _RANK
        and shape[2:] == attribute(node, "kernel_shape", ())
        and not any(attribute(node, "pads", (0,)))
        and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and set(attribute(node, "dilations", (1,))) == {1}
    )


def _axes(node: ir.Node) -> tuple[int, ...]:
    """Return the constant axes; an attribute before operator set 18, an input from there on."""
    if len(node.inputs) > 1:
        axes = constant(node.inputs[1])
        return () if axes is None else tuple(int(axis) for axis in axes)
    return attribute(node, "axes", ())


def _replace(node: ir.Node) -> None:
    source, name = node.inputs[0], node.name or node.op_type
    assert source is not None and source.shape is not None
    shape = ir.Shape([*source.shape[:2], 1, 1])
    result = insert_before(node, "GlobalAveragePool", [source], wish=f"{name}_global", shape=shape)
    if is_op(node, "ReduceMean") and attribute(node, "keepdims", 1) == 0:
        result = insert_before(node, "Flatten", [result], {"axis": 1}, wish=f"{name}_flat", shape=ir.Shape(shape[:2]))
    replace_output(node, result)
