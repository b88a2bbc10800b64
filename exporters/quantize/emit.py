"""Writing the quantized graph: QuantizeLinear and DequantizeLinear around quantized nodes, integer weights in the file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgecnn.errors import QuantizeError
from edgecnn.exporters.passes import DropUnused, run_passes
from edgecnn.exporters.passes.align_channels import AlignChannels
from edgecnn.exporters.passes.base import Pass, label
from edgecnn.exporters.passes.bytes_between import ClipInInt8, ShiftInInt8
from edgecnn.exporters.passes.group_pixels import GroupPixels
from edgecnn.exporters.passes.pad_in_int8 import PadInInt8
from edgecnn.exporters.passes.read_bytes import ReadBytes
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
from edgecnn.exporters.quantize.concat_scales import settle_scales
from edgecnn.exporters.quantize.config import INT8_MAX, QuantizeConfig
from edgecnn.exporters.quantize.operators import WEIGHTED, data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.quantize.scales import Quantizer, choose_quantizer, quantize_constant
from edgecnn.exporters.quantize.weights import one_scale, quantize_layer
from edgecnn.exporters.targets import Form


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
    form = placement.form
    chosen = {value: choose_quantizer(found, form) for value, found in settle_scales(placement, ranges).items()}
    for node in placement.nodes:
        if is_op(node, *WEIGHTED):
            _emit_weights(node, chosen[data_inputs(node)[0]], config, form)
        elif is_op(node, "AveragePool") and form.edges == "all":
            _emit_average(node)
    quantizers = _Quantizers(model.graph, placement)
    for value in placement.tensors:
        quantizers.add(value, chosen[value])
    for value in placement.constants:
        quantizers.add_constant(value)
    # A quantizer that clips for an activation must not be merged with another: these still stand and show which it is.
    _run(model, (ShiftInInt8(),) if form.edges == "all" else (), config)
    for node in placement.absorbed:
        bypass(node)
    _run(model, _last_passes(form), config)


def _run(model: ir.Model, passes: tuple[Pass, ...], config: QuantizeConfig) -> None:
    run_passes(model, [step for step in passes if step.name not in config.without_passes])


def _last_passes(form: Form) -> tuple[Pass, ...]:
    """Return what follows: work on the bytes themselves is for engines that fuse on edges."""
    on_bytes = (PadInInt8(), ClipInInt8()) if form.edges == "all" else ()
    aligned = (AlignChannels(),) if form.align_channels else ()
    grouped = (GroupPixels(),) if GroupPixels.name in form.rewrites else ()
    return (*on_bytes, *aligned, ReadBytes(), *grouped, DropUnused())


class _Quantizers:
    """Writes the Q/DQ pairs of a graph; tensors that share a scale share its constants."""

    def __init__(self, graph: ir.Graph, placement: Placement) -> None:
        self._graph = graph
        self._placement = placement
        self._form = placement.form
        self._constants: dict[tuple[str, Quantizer], tuple[ir.Value, ir.Value]] = {}

    def add(self, value: ir.Value, chosen: Quantizer) -> None:
        """Put a Q/DQ pair behind a tensor and lead those there that read it quantized."""
        constants = self._parameters(str(self._placement.scale_of[value].name), chosen)
        quantize = self._node("QuantizeLinear", [value, *constants], f"{value.name}_quantized")
        dequantize = self._node("DequantizeLinear", [quantize.outputs[0], *constants], f"{value.name}_dequantized")
        self._insert(value, (quantize, dequantize))
        result = dequantize.outputs[0]
        for node, index in self._placement.reads[value]:
            node.replace_input_with(index, result)
        if value in self._placement.given:
            self._hand_out(value, result)

    def add_constant(self, value: ir.Value) -> None:
        """Lead the quantized nodes that read a constant to its integers."""
        array = constant(value)
        assert array is not None
        chosen = choose_quantizer(Range.around(array.min(), array.max()), self._form)
        integers = add_constant(self._graph, f"{value.name}_quantized", quantize_constant(array, chosen, self._form))
        constants = self._parameters(str(value.name), chosen)
        dequantize = self._node("DequantizeLinear", [integers, *constants], f"{value.name}_dequantized")
        self._graph.insert_before(self._graph[0], dequantize)
        for use in tuple(value.uses()):
            if use.node in self._placement.nodes:
                use.node.replace_input_with(use.idx, dequantize.outputs[0])

    def _parameters(self, name: str, chosen: Quantizer) -> tuple[ir.Value, ir.Value]:
        """Return scale and zero point as constants; those of the same name and values are the same."""
        key = (name, chosen)
        if key not in self._constants:
            self._constants[key] = (
                add_constant(self._graph, f"{name}_scale", np.asarray(chosen.scale)),
                add_constant(self._graph, f"{name}_zero_point", np.asarray(chosen.zero_point)),
            )
        return self._constants[key]

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
        number = ir.DataType.UINT8 if self._form.activation == "uint8" else ir.DataType.INT8
        result.type = ir.TensorType(number if op_type == "QuantizeLinear" else ir.DataType.FLOAT)
        return node


def _emit_weights(node: ir.Node, source: Quantizer, config: QuantizeConfig, form: Form) -> None:
    """Replace a layer's float constants by integer ones with a DequantizeLinear each; a float bias stays where it is.

    TensorRT wants output channels along the first axis of the weight, or one scale for all of it.
    """
    if form.edges == "inputs" and node.op_type == "Gemm":
        _count_outputs_first(node)
    weight, bias = _float_constants(node)
    axis = output_axis(node)
    layer = quantize_layer(
        weight,
        bias if form.bias == "int32" else None,
        axis=axis,
        input_scale=source.scale,
        limit=config.weight_limit,
        per_channel=config.per_channel and not one_scale(node, form),
    )
    name = str(node.inputs[1].name)  # type: ignore[union-attr]
    _dequantize_into(node, 1, name, layer.weight, layer.weight_scale, axis)
    if layer.bias is not None:
        name = str(node.inputs[2].name)  # type: ignore[union-attr]
        _dequantize_into(node, 2, name, layer.bias, layer.bias_scale(source.scale), 0)
    elif bias is not None:
        _replace_constant(node, 2, bias)
    if node.op_type == "Gemm":
        # Their product with the constants is what was quantized.
        node.attributes.pop("alpha", None)
        node.attributes.pop("beta", None)


def _count_outputs_first(node: ir.Node) -> None:
    """Transpose the weight of a Gemm, if need be, so that its first axis counts output channels."""
    weight = constant(node.inputs[1])
    if weight is not None and not attribute(node, "transB", 0):
        _replace_constant(node, 1, np.ascontiguousarray(weight.T))
        node.attributes.add(ir.AttrInt64("transB", 1))


def _replace_constant(node: ir.Node, index: int, array: Array) -> None:
    """Give a node another constant in place of one, which others may read, unless they are equal."""
    old = node.inputs[index]
    assert old is not None and isinstance(node.graph, ir.Graph)
    if not np.array_equal(array, np.asarray(constant(old))):
        node.replace_input_with(index, add_constant(node.graph, str(old.name), array))


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
