"""Writing the graph: weights and inner tensors in 16 bits, casts where float32 begins and ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from edgecnn.errors import ExportError, first_line
from edgecnn.exporters.halfprecision.kinds import Kind, fixed_inputs, is_float
from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.values import add_constant, attribute, constant, is_op, unique_name
from edgecnn.exporters.targets import ir_of_opset


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What became of the constants.

    Attributes:
        total: how many numbers are in 16 bits.
        subnormal: of these, how many are so small that they lost digits.
        zeroed: how many are so small that they are zero now.
    """

    total: int = 0
    subnormal: int = 0
    zeroed: int = 0


def raise_opset(model: ir.Model, opset: int) -> ir.Model:
    """Return the model in a newer operator set, with the format version that came with it.

    Raises:
        ExportError: ONNX's version converter cannot do it.
    """
    try:
        converted = onnx.version_converter.convert_version(ir.to_proto(model), opset)
    except Exception as error:
        raise ExportError(
            f"operator set {model.opset_imports.get('')} cannot be raised to {opset}: {first_line(error)}",
            f"export the fp32 file with --opset {opset}",
        ) from error
    result = ir.from_proto(converted)
    result.ir_version = max(result.ir_version or 0, ir_of_opset(opset))
    return result


def convert_nodes(model: ir.Model, nodes: Collection[ir.Node], kind: Kind) -> Weights:
    """Let nodes of an fp32 graph run in a 16-bit type, in place; inputs and outputs of the model stay float32.

    Args:
        model: the graph, its values typed.
        nodes: fit for the type, see `edgecnn.exporters.halfprecision.blocklist`.
        kind: the type.
    """
    writer = _Writer(model.graph, kind)
    floats = {value for node in model.graph for value in (*node.inputs, *node.outputs) if is_float(value)}
    halves = {value for node in nodes for value in node.outputs if value in floats}
    for node in tuple(model.graph):
        wants_half = node in nodes
        fixed = fixed_inputs(node)
        for index, value in enumerate(node.inputs):
            if value in floats and (wants_half and index not in fixed) != (value in halves):
                assert value is not None
                node.replace_input_with(index, writer.other(value, to_half=value not in halves))
    for value in halves:
        value.type = ir.TensorType(kind.dtype)
    for node in nodes:
        if is_op(node, "Cast") and attribute(node, "to", 0) == ir.DataType.FLOAT:
            node.attributes.add(ir.AttrInt64("to", int(kind.dtype)))
    for index, value in enumerate(model.graph.outputs):
        if value in halves:
            writer.hand_out(index, value)
    DropUnused()(model)
    return writer.weights


class _Writer:
    """Gives values in the other type: constants converted, activations through a Cast; one of each."""

    def __init__(self, graph: ir.Graph, kind: Kind) -> None:
        self._graph = graph
        self._kind = kind
        self._others: dict[ir.Value, ir.Value] = {}
        self.weights = Weights()

    def other(self, value: ir.Value, *, to_half: bool) -> ir.Value:
        """Return the value in 16 bits, or in float32."""
        if value not in self._others:
            is_constant = to_half and constant(value) is not None
            self._others[value] = self._constant(value) if is_constant else self._cast(value, to_half=to_half)
        return self._others[value]

    def hand_out(self, index: int, value: ir.Value) -> None:
        """Make the float32 form of a 16-bit value the model's output, under the same name."""
        name = value.name
        result = self.other(value, to_half=False)
        self._graph.outputs[index] = result
        value.name = unique_name(self._graph, f"{name}_{self._kind.precision}")
        result.name = name

    def _constant(self, value: ir.Value) -> ir.Value:
        array = np.asarray(constant(value))
        half = array.astype(self._kind.dtype.numpy())
        size = np.abs(array)
        self.weights = Weights(
            total=self.weights.total + array.size,
            subnormal=self.weights.subnormal + int(((size > 0) & (size < self._kind.least_normal)).sum()),
            zeroed=self.weights.zeroed + int(((size > 0) & (half == 0)).sum()),
        )
        return add_constant(self._graph, f"{value.name}_{self._kind.precision}", half)

    def _cast(self, value: ir.Value, *, to_half: bool) -> ir.Value:
        dtype = self._kind.dtype if to_half else ir.DataType.FLOAT
        wish = f"{value.name}_{self._kind.precision if to_half else 'fp32'}"
        node = ir.node("Cast", [value], {"to": int(dtype)}, name=unique_name(self._graph, wish))
        result = node.outputs[0]
        result.name, result.shape, result.type = node.name, value.shape, ir.TensorType(dtype)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return result
