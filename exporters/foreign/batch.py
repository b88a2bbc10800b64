"""A graph that takes one image, or a fixed number, made to take any number of them where that can be proved."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.foreign.folding import fold_constants, infer_shapes
from edgecnn.exporters.passes.values import add_constant, is_op

SYMBOL = "N"
"""How the number of images is called in every file of edgecnn."""

_FROM_INPUT = 0
"""In the target of a Reshape (with allowzero 0): as many as the input has."""


def any_batch(model: ir.Model, where: str) -> bool:
    """Let a graph of a fixed number of images take any, in place, and return whether it does now.

    A Reshape that keeps this number in front takes it from its input instead, and the sizes behind it, computed by the graph
    or not, are constants: for the number that the file has, this is the same. Shape inference over the whole graph must then
    find that the output grows with the input. Otherwise the model is left good for nothing: work on a clone.
    """
    known = _static_shapes(model, where)
    batch = known[str(model.graph.inputs[0].name)][0]
    for node in model.graph:
        if is_op(node, "Reshape"):
            _free_reshape(model.graph, node, batch, known)
    set_batch(model, None)
    settle_shapes(model, where)
    return follows_batch(model)


def set_batch(model: ir.Model, batch: int | None) -> None:
    """Set the number of images of the input, None for any; shapes of everything else are to be inferred again."""
    value = model.graph.inputs[0]
    assert value.shape is not None
    value.shape = ir.Shape([SYMBOL if batch is None else batch, *value.shape[1:]])
    for output in model.graph.outputs:
        output.shape = None


def settle_shapes(model: ir.Model, where: str) -> None:
    """Infer all shapes, and compute what depends on known ones alone."""
    infer_shapes(model)
    if fold_constants(model, where):
        infer_shapes(model)


def follows_batch(model: ir.Model) -> bool:
    """Tell whether shape inference found that there is a row of output for every image."""
    return _batch_of(model.graph.outputs[0]) == SYMBOL


def _batch_of(value: ir.Value | None) -> int | str | None:
    if value is None or value.shape is None or len(value.shape) == 0:
        return None
    size = value.shape[0]
    return size.value if isinstance(size, ir.SymbolicDim) else size


def _static_shapes(model: ir.Model, where: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all values for the number of images that the input has, where they are known."""
    static = model.clone()
    settle_shapes(static, where)
    values = [*static.graph.inputs, *(value for node in static.graph for value in node.outputs)]
    sizes = {str(value.name): tuple(value.shape) for value in values if value.shape is not None}
    return {
        name: tuple(size for size in shape if isinstance(size, int))
        for name, shape in sizes.items()
        if all(isinstance(size, int) for size in shape)
    }


def _free_reshape(graph: ir.Graph, node: ir.Node, batch: int, known: Mapping[str, tuple[int, ...]]) -> None:
    """Let a Reshape take the number of images from its input, if every image keeps as many values as it had."""
    source = known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    target = known.get(str(node.outputs[0].name))
    if not source or not target or source[0] != batch or target[0] != batch or 0 in target:
        return
    if math.prod(source[1:]) == math.prod(target[1:]):
        _retarget(graph, node, [_FROM_INPUT, *target[1:]])


def _retarget(graph: ir.Graph, node: ir.Node, target: list[int]) -> None:
    node.attributes.pop("allowzero", None)
    node.replace_input_with(1, add_constant(graph, f"{node.outputs[0].name}_target", np.array(target, np.int64)))
