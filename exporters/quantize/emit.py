"""Writing the quantized graph: QuantizeLinear and DequantizeLinear around quantized nodes, integer weights in the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgecnn.errors import QuantizeError
from edgecnn.exporters.passes import DropUnused, run_passes
from edgecnn.exporters.passes.base import label
from edgecnn.exporters.passes.values import (
    Array,
    add_constant,
    attribute,
    bypass,
    constant,
    dimensions,
    is_op,
    layer_bias,
    output_axis,
    unique_name,
)
from edgecnn.exporters.quantize.align_channels import AlignChannels
from edgecnn.exporters.quantize.config import INT8_MAX, QuantizeConfig
from edgecnn.exporters.quantize.pad_in_int8 import PadInInt8
from edgecnn.exporters.quantize.placement import WEIGHTED, Placement, data_inputs
from edgecnn.exporters.quantize.ranges import Parameters, Range, parameters
from edgecnn.exporters.quantize.weights import quantize_layer

_PASSES = (PadInInt8(), AlignChannels(), DropUnused())


def emit(model: ir.Model, placement: Placement, ranges: Mapping[str, Range], config: QuantizeConfig) -> None:
    """Turn an fp32 graph into its quantized form, in place.

    Args:
        model: the graph that `placement` was found in.
        placement: what is quantized.
        ranges: range of every observed tensor, by name.
        config: weight options.

    Raises:
        QuantizeError: a layer has weights that are not finite.
    """
    chosen = {value: parameters(ranges[str(placement.scale_of[value].name)]) for value in placement.tensors}
    for node in placement.nodes:
        if is_op(node, *WEIGHTED):
            _emit_weights(node, chosen[data_inputs(node)[0]], config)
        elif is_op(node, "AveragePool"):
            _emit_average(node)
    quantizers = _Quantizers(model.graph, placement)
    for value in placement.tensors:
        quantizers.add(value, chosen[value])
    for node in placement.absorbed:
        bypass(node)
    run_passes(model, _PASSES)


class _Quantizers:
    """Writes the Q/DQ pairs of a graph; tensors that share a scale share its constants."""

    def __init__(self, graph: ir.Graph, placement: Placement) -> None:
        self._graph = graph
        self._scale_of = placement.scale_of
        self._quantized = frozenset(placement.nodes)
        self._results = {output for node in (*placement.nodes, *placement.absorbed) for output in node.outputs}
        self._constants: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}

    def add(self, value: ir.Value, chosen: Parameters) -> None:
        """Put a Q/DQ pair behind a tensor and lead its readers there.

        What a quantized node gives exists in int8 only, so that every reader, and the model's caller, gets the pair's
        result; of another tensor only quantized nodes do.
        """
        constants = self._parameters(self._scale_of[value], chosen)
        readers = [use for use in value.uses() if value in self._results or use.node in self._quantized]
        quantize = self._node("QuantizeLinear", [value, *constants], f"{value.name}_quantized")
        dequantize = self._node("DequantizeLinear", [quantize.outputs[0], *constants], f"{value.name}_dequantized")
        self._insert(value, (quantize, dequantize))
        result = dequantize.outputs[0]
        for node, index in readers:
            node.replace_input_with(index, result)
        if value.is_graph_output() and value in self._results:
            self._hand_out(value, result)

    def _parameters(self, decider: ir.Value, chosen: Parameters) -> tuple[ir.Value, ir.Value]:
        if decider not in self._constants:
            self._constants[decider] = (
                add_constant(self._graph, f"{decider.name}_scale", np.asarray(chosen.scale)),
                add_constant(self._graph, f"{decider.name}_zero_point", np.asarray(chosen.zero_point)),
            )
        return self._constants[decider]

    def _insert(self, value: ir.Value, nodes: tuple[ir.Node, ...]) -> None:
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], nodes)
        else:
            self._graph.insert_after(producer, nodes)

    def _hand_out(self, value: ir.Value, result: ir.Value) -> None:
        """Make the result the model's output in place of the value, under the same name."""
        name = value.name
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = result
        value.name = unique_name(self._graph, f"{name}_float")
        result.name = name

    def _node(self, op_type: str, inputs: list[ir.Value], wish: str) -> ir.Node:
        """Return a quantizer or dequantizer whose output is named, shaped and typed."""
        node = ir.node(op_type, inputs, name=unique_name(self._graph, wish))
        result = node.outputs[0]
        result.name, result.shape = node.name, inputs[0].shape
        result.type = ir.TensorType(ir.DataType.UINT8 if op_type == "QuantizeLinear" else ir.DataType.FLOAT)
        return node


def _emit_weights(node: ir.Node, source: Parameters, config: QuantizeConfig) -> None:
    """Replace a layer's float constants by integer ones with a DequantizeLinear each."""
    weight, bias = _float_constants(node)
    axis = output_axis(node)
    layer = quantize_layer(
        weight,
        bias,
        axis=axis,
        input_scale=source.scale,
        limit=config.weight_limit,
        per_channel=config.per_channel,
    )
    name = str(node.inputs[1].name)  # type: ignore[union-attr]
    _dequantize_into(node, 1, name, layer.weight, layer.weight_scale, axis)
    if layer.bias is not None:
        name = str(node.inputs[2].name)  # type: ignore[union-attr]
        _dequantize_into(node, 2, name, layer.bias, layer.bias_scale(source.scale), 0)
    if node.op_type == "Gemm":
        # Their product with the constants is what was quantized.
        node.attributes.pop("alpha", None)
        node.attributes.pop("beta", None)


def _emit_average(node: ir.Node) -> None:
    """Turn an AveragePool into the depthwise convolution that it is, for which engines have int8 kernels."""
    shape = dimensions(node.inputs[0])
    assert shape is not None and shape[1] is not None
    kernel = attribute(node, "kernel_shape", (1, 1))
    integers = np.full((shape[1], 1, *kernel), INT8_MAX, np.int8)
    scale = np.asarray(1 / (INT8_MAX * np.prod(kernel)), np.float32)
    for name in ("count_include_pad", "ceil_mode", "auto_pad"):
        node.attributes.pop(name, None)
    node.attributes.add(ir.AttrInt64("group", shape[1]))
    node.op_type = "Conv"
    node.resize_inputs(2)
    _dequantize_into(node, 1, f"{node.outputs[0].name}_weight", integers, scale, 0)


def _float_constants(node: ir.Node) -> tuple[Array, Array | None]:
    """Return weight and bias ([channels] or None) of a layer, a Gemm's factors multiplied in.

    Raises:
        QuantizeError: they are not finite.
    """
    alpha, beta = (attribute(node, name, 1.0) if node.op_type == "Gemm" else 1.0 for name in ("alpha", "beta"))
    found = constant(node.inputs[1])
    assert found is not None
    weight = np.asarray(found * np.float32(alpha))
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    found = layer_bias(node, weight.shape[output_axis(node)]) if has_bias else None
    bias = None if found is None else np.asarray(found * np.float32(beta))
    if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
        raise QuantizeError(
            f"node {label(node)} has weights that are not finite", "train or download the weights again"
        )
    return weight, bias


def _dequantize_into(node: ir.Node, index: int, name: str, integers: Array, scale: Array, axis: int) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    constants = [add_constant(graph, f"{name}_quantized", integers), add_constant(graph, f"{name}_scale", scale)]
    if integers.dtype != np.int32:  # whose zero point can only be 0
        constants.append(add_constant(graph, f"{name}_zero_point", np.zeros(scale.shape, integers.dtype)))
    attributes = {"axis": axis} if scale.ndim else {}
    dequantize = ir.node("DequantizeLinear", constants, attributes, name=unique_name(graph, f"{name}_dequantized"))
    result = dequantize.outputs[0]
    result.name = dequantize.name
    result.shape = ir.Shape(integers.shape)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, dequantize)
    node.replace_input_with(index, result)
