"""Small questions that several passes and the quantizer ask of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T", int, float, str, tuple[int, ...])

TO_CHANNELS_FIRST = (0, 3, 1, 2)
"""Of a Transpose: [N, height, width, channels] becomes [N, channels, height, width]."""


def constant(value: ir.Value | None) -> Array | None:
    """Return the array of a value that no input can change, else None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def attribute(node: ir.Node, name: str, default: T) -> T:
    """Return an attribute of a node, or the default where the node does not give it."""
    found = node.attributes.get(name)
    if found is None:
        return default
    value: T = tuple(found.value) if isinstance(default, tuple) else found.value
    return value


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Tell whether a node is one of these operators of the default ONNX set."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in op_types


def only_use(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads a value once, or None when others, or the model's caller, read it too."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def output_axis(layer: ir.Node) -> int:
    """Return the axis of the weight of a Conv, Gemm or MatMul that counts its output channels."""
    if layer.op_type == "Conv" or (layer.op_type == "Gemm" and attribute(layer, "transB", 0)):
        return 0
    return 1


def layer_bias(layer: ir.Node, channels: int) -> Array | None:
    """Return the bias of a Conv or Gemm as an array [channels] of its own type, float32 zeros where it has none.

    None where it is computed, or is neither one value per output channel nor one for all. The factor beta of a Gemm is not
    multiplied in.
    """
    if len(layer.inputs) < 3 or layer.inputs[2] is None:
        return np.zeros(channels, np.float32)
    bias = constant(layer.inputs[2])
    if bias is None or (bias.size != 1 and (bias.size, *bias.shape[-1:]) != (channels, channels)):
        return None
    return np.broadcast_to(bias.reshape(-1), (channels,))


def dimensions(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return the shape with None for what is not known beforehand, or None when not even the rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else None for d in value.shape)


def unique_name(graph: ir.Graph, wish: str) -> str:
    """Return a name that no value of the graph has: the wish, with a number appended where it is taken."""
    taken = {value.name for node in graph for value in node.outputs}
    taken |= {value.name for value in graph.inputs} | set(graph.initializers)
    name, number = wish, 1
    while name in taken:
        name, number = f"{wish}_{number}", number + 1
    return name


def add_constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Return a new initialiser of that name; a number is appended to a name that is taken."""
    unique = unique_name(graph, name)
    tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def set_constant(layer: ir.Node, index: int, array: Array) -> None:
    """Give a layer a new constant input; the old one may have other readers and stays."""
    assert isinstance(layer.graph, ir.Graph)
    old = layer.inputs[index] if index < len(layer.inputs) else None
    name = old.name if old is not None else f"{layer.outputs[0].name}_constant_{index}"
    if index >= len(layer.inputs):
        layer.resize_inputs(index + 1)
    layer.replace_input_with(index, add_constant(layer.graph, f"{name}_folded", array))


def insert_before(
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    wish: str,
    shape: ir.Shape | None = None,
) -> ir.Value:
    """Return the result of a new node just before another one.

    Args:
        node: where it goes.
        op_type: its operator.
        inputs: what it reads; its result has the type of the first.
        attributes: its attributes.
        wish: name of node and result; a number is appended where it is taken.
        shape: of the result, None for that of the first input.
    """
    assert isinstance(node.graph, ir.Graph) and inputs[0] is not None
    new = ir.node(op_type, inputs, attributes or {}, name=unique_name(node.graph, wish))
    result = new.outputs[0]
    result.name, result.type = new.name, inputs[0].type
    result.shape = inputs[0].shape if shape is None else shape
    node.graph.insert_before(node, new)
    return result


def replace_output(node: ir.Node, value: ir.Value) -> None:
    """Remove a node whose only output equals another node's result, which takes over the output's name and readers."""
    old, graph = node.outputs[0], node.graph
    assert graph is not None
    value.shape, value.type = old.shape, old.type
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    old.name, value.name = None, old.name


def bypass(node: ir.Node) -> bool:
    """Remove a node whose first output equals its first input, and tell whether that was possible.

    It is not where the model would hand out its own input or a constant under the output's name.
    """
    source, target = node.inputs[0], node.outputs[0]
    graph = node.graph
    assert graph is not None and source is not None
    if target.is_graph_output():
        if source.is_graph_input() or source.is_initializer() or source.is_graph_output():
            return False
        name = target.name
        target.replace_all_uses_with(source, replace_graph_outputs=True)
        target.name = None
        source.name = name
    else:
        target.replace_all_uses_with(source)
    graph.remove(node, safe=True)
    return True
