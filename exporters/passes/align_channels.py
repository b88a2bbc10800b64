"""A convolution over a tensor of 1, 3 or 6 channels reads 4 or 8, the further ones being zero."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.values import add_constant, attribute, constant, dimensions, is_op, only_use, unique_name

_ALIGNMENT = 4
"""Bytes that one lane of a dot-product instruction takes: the direct kernels of ONNX Runtime (MlasConvSym) refuse other
multiples, and what remains gathers every window into a matrix first."""


class AlignChannels(Pass):
    """Pads the channels of a quantized float tensor, and the weights of the convolution that reads it, with zeros.

    Only for convolutions of more than one pixel with enough outputs for the direct kernels, and only where the tensor has
    just been quantized, as the model's image is; elsewhere the copy may cost more than it gains.
    """

    name = "align-channels"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        convolutions = [node for node in model.graph if _gains(node)]
        images = dict.fromkeys(node.inputs[0] for node in convolutions)
        wide = {image: _widen_image(model.graph, image) for image in images if image is not None}
        for node in convolutions:
            _widen_weight(model.graph, node)
            node.replace_input_with(0, wide[node.inputs[0]])  # type: ignore[index]
        return bool(convolutions)


def _gains(node: ir.Node) -> bool:
    if not is_op(node, "Conv") or attribute(node, "group", 1) != 1:
        return False
    image, weight = (_dequantizer(value) for value in node.inputs[:2])
    if image is None or weight is None or only_use(weight.outputs[0]) is None or len(image.inputs) < 3:
        return False
    quantizer = image.inputs[0].producer() if image.inputs[0] is not None else None
    integers = constant(weight.inputs[0])
    if quantizer is None or integers is None or not is_op(quantizer, "QuantizeLinear") or not _is_fresh(quantizer):
        return False
    shape = dimensions(image.outputs[0])
    if shape is None or shape[1] is None:
        return False
    outputs, inputs, *kernel = integers.shape
    return inputs % _ALIGNMENT != 0 and outputs >= INT8_COSTS.least_channels and int(np.prod(kernel)) > 1


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if is_op(producer, "DequantizeLinear") else None


def _is_fresh(quantizer: ir.Node) -> bool:
    """Tell whether a quantizer reads a float tensor, not the result of an int8 node."""
    assert quantizer.inputs[0] is not None
    maker = quantizer.inputs[0].producer()
    return maker is None or all(_dequantizer(value) is None for value in maker.inputs)


def _widen_weight(graph: ir.Graph, node: ir.Node) -> None:
    weight = _dequantizer(node.inputs[1])
    assert weight is not None and weight.inputs[0] is not None
    integers = constant(weight.inputs[0])
    assert integers is not None
    sides = [(0, -size % _ALIGNMENT if axis == 1 else 0) for axis, size in enumerate(integers.shape)]
    wide = add_constant(graph, f"{weight.inputs[0].name}_aligned", np.pad(integers, sides))
    weight.replace_input_with(0, wide)
    weight.outputs[0].shape = wide.shape


def _widen_image(graph: ir.Graph, image: ir.Value) -> ir.Value:
    """Return the dequantized image with further channels of zero."""
    dequantizer = image.producer()
    assert dequantizer is not None and image.shape is not None
    integers, *parameters = dequantizer.inputs
    assert integers is not None
    shape = ir.Shape(image.shape)
    rank, channels = len(shape), int(shape[1])  # type: ignore[arg-type]
    shape[1] = channels + -channels % _ALIGNMENT
    amounts = np.zeros(2 * rank, np.int64)
    amounts[rank + 1] = -channels % _ALIGNMENT
    pads = add_constant(graph, f"{integers.name}_pads", amounts)
    pad = ir.node("Pad", [integers, pads, parameters[1]], name=unique_name(graph, f"{integers.name}_aligned"))
    again = ir.node("DequantizeLinear", [pad.outputs[0], *parameters], name=unique_name(graph, f"{image.name}_aligned"))
    for node, like in ((pad, integers), (again, image)):
        node.outputs[0].name = node.name
        node.outputs[0].shape, node.outputs[0].type = shape, like.type
    graph.insert_after(dequantizer, [pad, again])
    return again.outputs[0]
