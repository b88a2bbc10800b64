"""Biases that make up for what rounding the weights does to the mean of a layer's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import (
    add_constant,
    attribute,
    constant,
    is_op,
    layer_bias,
    output_axis,
    unique_name,
)
from edgecnn.exporters.quantize.concat_scales import settle_scales
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.operators import data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.quantize.scales import choose_quantizer
from edgecnn.exporters.quantize.weights import one_scale, quantize_layer
from edgecnn.runtimes.base import Array

Means = Callable[[ir.Model, Sequence[ir.Value]], Mapping[str, Array]]
"""Returns the mean over images of tensors [N, ...] of a graph, by name."""


def correct_biases(model: ir.Model, errors: Mapping[str, Array], means: Means) -> int:
    """Subtract from each bias the mean error of its layer's result, in place, and return how many were changed.

    Empirical bias correction (Nagel et al. 2019, section 4.2 and appendix D): quantized weights W + E give a result whose
    mean is off by the mean of E * x. That mean is not derived from statistics but measured, by running E itself on the fp32
    activations x of real images, so that padding and strides are in it.

    Args:
        model: the fp32 graph.
        errors: name of a Conv or Gemm -> quantized minus float weights, of the weights' shape.
        means: runs a graph on calibration images.
    """
    nodes = {str(node.name): node for node in model.graph if str(node.name) in errors and is_op(node, "Conv", "Gemm")}
    probe = model.clone()
    tensors = [
        _add_error(probe.graph, node, errors[name]) for node in tuple(probe.graph) if (name := str(node.name)) in nodes
    ]
    shifts = means(probe, tensors)
    for (name, node), tensor in zip(nodes.items(), tensors, strict=True):
        _shift_bias(node, shifts[str(tensor.name)].reshape(-1), errors[name].shape[output_axis(node)])
    return len(nodes)


def weight_errors(placement: Placement, ranges: Mapping[str, Range], config: QuantizeConfig) -> dict[str, Array]:
    """Return layer -> quantized minus float weights, of the layers that a placement quantizes.

    Args:
        placement: what is quantized.
        ranges: of the tensors, by name.
        config: weight options.
    """
    settled = settle_scales(placement, ranges)
    layers = [node for node in placement.nodes if is_op(node, "Conv", "Gemm")]
    scales = [choose_quantizer(settled[data_inputs(node)[0]], placement.form).scale for node in layers]
    return {str(node.name): weight_error(node, scale, config) for node, scale in zip(layers, scales, strict=True)}


def weight_error(node: ir.Node, input_scale: np.float32, config: QuantizeConfig) -> Array:
    """Return quantized minus float weights of a Conv, Gemm or MatMul as `emit` writes them, a Gemm's alpha multiplied in."""
    form = config.form
    found = constant(node.inputs[1])
    assert found is not None
    alpha, beta = (attribute(node, name, 1.0) if node.op_type == "Gemm" else 1.0 for name in ("alpha", "beta"))
    weight, axis = np.asarray(found * np.float32(alpha)), output_axis(node)
    bias = layer_bias(node, weight.shape[axis])
    assert bias is not None
    layer = quantize_layer(
        weight,
        np.asarray(bias * np.float32(beta)) if form.bias == "int32" else None,
        axis=axis,
        input_scale=input_scale,
        limit=config.weight_limit,
        per_channel=config.per_channel and not one_scale(node, form),
    )
    scale = layer.weight_scale
    column = scale.reshape([-1 if index == axis else 1 for index in range(weight.ndim)]) if scale.ndim else scale
    error: Array = layer.weight * column - weight
    return error


def _add_error(graph: ir.Graph, node: ir.Node, error: Array) -> ir.Value:
    """Put a layer of the error's weights beside a layer and return its mean over each image, [N, channels, ...]."""
    name = unique_name(graph, f"{node.outputs[0].name}_error")
    weight = add_constant(graph, f"{name}_weight", np.asarray(error, np.float32))
    kept = [one for name, one in node.attributes.items() if name not in ("alpha", "beta")]
    layer = ir.Node("", node.op_type, [node.inputs[0], weight], kept, name=name)
    added = [layer]
    if node.op_type == "Conv":
        added.append(ir.node("GlobalAveragePool", [layer.outputs[0]], name=f"{name}_mean"))
    for one in added:
        one.outputs[0].name = one.name
        one.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph.insert_after(node, added)
    return added[-1].outputs[0]


def _shift_bias(node: ir.Node, shift: Array, channels: int) -> None:
    """Subtract a shift [channels] from a layer's bias; a layer without one gets one."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    bias = layer_bias(node, channels)
    assert bias is not None
    beta = attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
    corrected = add_constant(graph, f"{node.outputs[0].name}_corrected", (bias - shift / beta).astype(np.float32))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, corrected)
