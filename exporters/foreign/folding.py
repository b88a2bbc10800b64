"""Constants of a graph computed once: weights that a file makes out of other values, shapes, masks."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass
from onnxscript.optimizer import fold_constants as fold_small

from edgecnn.errors import BadInput
from edgecnn.exporters.foreign.source import LIMIT_BYTES
from edgecnn.exporters.network import silent
from edgecnn.exporters.passes import LiftConstants
from edgecnn.exporters.passes.values import add_constant, constant, is_op


def infer_shapes(model: ir.Model) -> None:
    """Note the shape of every value that has one."""
    for node in model.graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def fold_constants(model: ir.Model, where: str) -> bool:
    """Compute what depends on constants alone, in place, and return whether there was any.

    Raises:
        BadInput: the constants would not fit into one file.
    """
    LiftConstants()(model)
    filled = _fill(model.graph, where)
    with silent():
        folded = fold_small(
            model, onnx_shape_inference=True, input_size_limit=LIMIT_BYTES, output_size_limit=LIMIT_BYTES
        )
    LiftConstants()(model)
    return filled or folded.modified


def _fill(graph: ir.Graph, where: str) -> bool:
    """Turn ConstantOfShape nodes into initialisers, which are views of one value and take no memory until written."""
    nodes = [node for node in tuple(graph) if is_op(node, "ConstantOfShape") and constant(node.inputs[0]) is not None]
    total = sum(_filled_bytes(node) for node in nodes)
    if total >= LIMIT_BYTES:
        size = f"{total / (1 << 30):.1f} GiB"
        raise BadInput(
            f"{where}: its ConstantOfShape nodes make weights of {size}", expected="less than 2 GiB", got=size
        )
    for node in nodes:
        _replace(graph, node)
    return bool(nodes)


def _filled_bytes(node: ir.Node) -> int:
    return math.prod(_shape(node)) * _value(node).itemsize


def _shape(node: ir.Node) -> tuple[int, ...]:
    array = constant(node.inputs[0])
    assert array is not None
    return tuple(int(size) for size in array.reshape(-1))


def _value(node: ir.Node) -> np.generic:
    given = node.attributes.get("value")
    return np.float32(0) if given is None else given.value.numpy().reshape(-1)[0]


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    old = node.outputs[0]
    if old.is_graph_output():
        return
    name = old.name or "filled"
    old.name = None
    new = add_constant(graph, name, np.zeros((), _value(node).dtype))
    array = np.broadcast_to(_value(node), _shape(node))
    new.const_value = ir.Tensor(array, name=new.name)
    new.shape = ir.Shape(array.shape)
    old.replace_all_uses_with(new)
    graph.remove(node, safe=True)
