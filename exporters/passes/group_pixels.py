"""The first int8 convolution reads a row of pixels as groups of four bytes, as it lies in memory.

Four pixels of three channels are three groups of four bytes. A convolution whose stride goes evenly into four pixels (or four
pixels into its stride) can therefore read groups as if each was one pixel of four channels: it makes all outputs that begin
within one period of pixels at once, as so many more output channels, and its weights stand where the bytes of its window lie.
Channels last, as ONNX Runtime runs int8 convolutions, neither the bytes before nor the outputs behind have to be moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.centre_pixels import WidenedPixels, widened_pixels
from edgecnn.exporters.passes.costs import INT8_COSTS
from edgecnn.exporters.passes.pixel_border import Border, reshaped
from edgecnn.exporters.passes.pixel_layout import GROUP, Layout, beside_rows, find_layout, grouped_weights
from edgecnn.exporters.passes.values import (
    TO_CHANNELS_FIRST,
    Array,
    add_constant,
    attribute,
    constant,
    dimensions,
    insert_before,
    is_op,
    only_use,
)

_CHANNELS_LAST = (0, 2, 3, 1)

# Shape takes `start` and `end` from here on.
_LEAST_OPSET = 15


class GroupPixels(Pass):
    """Takes away the transpositions and the further channel of `centre-pixels` where the first convolution can do without.

    What lies beyond the image is the mean of each channel, rounded to the byte that a pixel is; the further channel
    approximates the same value by weights of 8 bits.

    Requires: a graph that starts with bytes that `centre-pixels` has widened, and one quantized convolution that reads them.
    Ensures: nothing but what that convolution computes at the border of the image changes.
    """

    name = "group-pixels"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        if model.graph.opset_imports.get("", 0) < _LEAST_OPSET:
            return False
        return any(_rewrite(node) for node in tuple(model.graph) if is_op(node, "Conv"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """The first convolution of an int8 graph.

    Attributes:
        node: the convolution.
        image: the bytes that it reads.
        source: the dequantizer of these.
        weight: the dequantizer of its weights.
        quantizer: of its result.
        weights: int8 [outputs, widened channels, height, width].
        size: height and width of the result.
    """

    node: ir.Node
    image: WidenedPixels
    source: ir.Node
    weight: ir.Node
    quantizer: ir.Node
    weights: Array
    size: tuple[int, int]


def _rewrite(node: ir.Node) -> bool:
    layer = _layer(node)
    layout = _layout(layer) if layer is not None else None
    if layer is None or layout is None or not _gains(layer, layout):
        return False
    bias = _bias(layer)
    if bias is None:
        return False
    _read_groups(layer, layout)
    _move_weights(layer, layout, bias)
    _give_pixels(layer, layout)
    return True


def _layer(node: ir.Node) -> _Layer | None:
    """Return a convolution of widened pixels with all that has to change with it; None for any other.

    `CentrePixels` widens for convolutions of one group with stated padding alone.
    """
    source, weight = (_dequantizer(value) for value in node.inputs[:2])
    quantizer = only_use(node.outputs[0])
    image = widened_pixels(source.inputs[0]) if source is not None else None
    integers = constant(weight.inputs[0]) if weight is not None else None
    size = dimensions(node.outputs[0])
    if source is None or weight is None or quantizer is None or image is None or integers is None or size is None:
        return None
    others_read = only_use(source.outputs[0]) is None or only_use(weight.outputs[0]) is None
    dilated = set(attribute(node, "dilations", (1, 1))) != {1}
    if others_read or dilated or not _is_one_scale(quantizer) or integers.shape[1] != image.widened:
        return None
    _, _, height, width = size
    if height is None or width is None:
        return None
    return _Layer(
        node=node,
        image=image,
        source=source,
        weight=weight,
        quantizer=quantizer,
        weights=integers,
        size=(height, width),
    )


def _is_one_scale(quantizer: ir.Node) -> bool:
    """Tell whether a node quantizes all channels alike, for nobody but nodes."""
    if not is_op(quantizer, "QuantizeLinear") or quantizer.outputs[0].is_graph_output():
        return False
    scale = constant(quantizer.inputs[1])
    return scale is not None and scale.size == 1


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if is_op(producer, "DequantizeLinear") else None


def _layout(layer: _Layer) -> Layout | None:
    strides, pads = (
        attribute(layer.node, name, default) for name, default in (("strides", (1, 1)), ("pads", (0,) * 4))
    )
    return find_layout(
        size=layer.image.size,
        channels=layer.image.channels,
        kernel=layer.weights.shape[2:],
        strides=strides,
        pads=pads,
        results=layer.size,
    )


def _gains(layer: _Layer, layout: Layout) -> bool:
    """Tell whether moving bytes costs more than the border that replaces it, and the products with zeros are few."""
    _, widened, _, wide = layer.weights.shape
    products = layout.window * GROUP / (widened * wide)
    height, width = layer.image.size
    sides = sum(1 for one, other in ((layout.top, layout.bottom), (layout.left, layout.right)) if one or other)
    border = INT8_COSTS.border(sides, sides * height * width * layer.image.channels)
    return products <= INT8_COSTS.grouped_products and border < INT8_COSTS.widening(height * width)


def _bias(layer: _Layer) -> tuple[Array, Array] | None:
    """Return the bias in units of the products, int32 [outputs], and its scale; None where the graph has it as floats.

    What the further channels added all over the image is in it.
    """
    scales = [constant(node.inputs[1]) for node in (layer.source, layer.weight)]
    if scales[0] is None or scales[1] is None:
        return None
    scale = np.asarray(scales[0] * scales[1], np.float32)
    total = layer.weights[:, layer.image.channels :].astype(np.int64).sum(axis=(1, 2, 3)) * layer.image.inside
    inputs = layer.node.inputs
    if len(inputs) > 2 and inputs[2] is not None:
        source = _dequantizer(inputs[2])
        integers = constant(source.inputs[0]) if source is not None else None
        if integers is None or integers.dtype != np.int32:
            return None
        total += integers
    limits = np.iinfo(np.int32)
    return (total.astype(np.int32), scale) if limits.min <= total.min() and total.max() <= limits.max else None


def _read_groups(layer: _Layer, layout: Layout) -> None:
    """Let the convolution read the pixels as groups, with what lies beyond the image around them."""
    image, node = layer.image, layer.source
    channels, (height, width) = image.channels, image.size
    border, tall = Border(node, image.pixels), height + layout.top + layout.bottom
    rows = reshaped(node, image.pixels, [height, width * channels])
    above = np.tile(image.beyond, width)
    rows = border.put_around(rows, np.tile(above, (layout.top, 1)), np.tile(above, (layout.bottom, 1)), axis=1)
    before, behind = (np.tile(beside, (tall, 1)) for beside in beside_rows(image.beyond, image.zero, layout))
    rows = border.put_around(rows, before, behind, axis=2)
    grouped = reshaped(node, rows, [tall, layout.groups, GROUP])
    batch = grouped.shape[0]  # type: ignore[index]
    shape = ir.Shape([batch, GROUP, tall, layout.groups])
    moved = insert_before(node, "Transpose", [grouped], {"perm": TO_CHANNELS_FIRST}, wish="pixels_groups", shape=shape)
    node.replace_input_with(0, moved)
    node.outputs[0].shape = shape


def _move_weights(layer: _Layer, layout: Layout, bias: tuple[Array, Array]) -> None:
    """Put weights where the bytes of their window lie, once for each output that is made at once."""
    node, together = layer.node, layout.together
    groups = grouped_weights(layer.weights, layout)
    tall = groups.shape[2]
    _set_constants(layer.weight, groups, together)
    layer.weight.outputs[0].shape = ir.Shape(groups.shape)
    total, scale = bias
    _set_bias(layer, np.tile(total, together), np.tile(scale, together) if scale.ndim else scale)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [tall, layout.window])
    node.attributes["strides"] = ir.AttrInt64s("strides", [attribute(node, "strides", (1, 1))[0], layout.step])
    node.attributes["pads"] = ir.AttrInt64s("pads", [0, 0, 0, 0])


def _set_constants(dequantizer: ir.Node, integers: Array, together: int) -> None:
    """Give a dequantizer of weights others, with the same scale for each output that is made at once."""
    graph = dequantizer.graph
    assert isinstance(graph, ir.Graph)
    for index, value in enumerate(dequantizer.inputs):
        old = constant(value)
        assert old is not None and value is not None
        new = integers if index == 0 else np.tile(old, together) if old.ndim else old
        dequantizer.replace_input_with(index, add_constant(graph, f"{value.name}_grouped", new))


def _set_bias(layer: _Layer, integers: Array, scale: Array) -> None:
    node, graph = layer.node, layer.node.graph
    assert isinstance(graph, ir.Graph)
    wish = f"{node.outputs[0].name}_bias"
    constants = [add_constant(graph, f"{wish}_quantized", integers), add_constant(graph, f"{wish}_scale", scale)]
    result = insert_before(
        node,
        "DequantizeLinear",
        constants,
        {"axis": 0} if scale.ndim else {},
        wish=wish,
        shape=ir.Shape(integers.shape),
    )
    result.type = ir.TensorType(ir.DataType.FLOAT)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, result)


def _give_pixels(layer: _Layer, layout: Layout) -> None:
    """Let what reads the convolution's bytes read them as one pixel per output again."""
    result, quantized = layer.node.outputs[0], layer.quantizer.outputs[0]
    graph, shape = layer.node.graph, quantized.shape
    assert isinstance(graph, ir.Graph) and shape is not None
    outputs = len(layer.weights)
    tall, wide = layer.size
    readers = tuple(quantized.uses())
    together = ir.Shape([shape[0], outputs * layout.together, tall, wide // layout.together])
    result.shape = quantized.shape = together
    after = min((use.node for use in readers), key=list(graph).index)
    last = insert_before(
        after,
        "Transpose",
        [quantized],
        {"perm": _CHANNELS_LAST},
        wish="pixels_outputs",
        shape=ir.Shape([shape[0], tall, wide // layout.together, outputs * layout.together]),
    )
    apart = reshaped(after, last, [tall, wide, outputs])
    back = insert_before(after, "Transpose", [apart], {"perm": TO_CHANNELS_FIRST}, wish="pixels_outputs", shape=shape)
    for use in readers:
        use.node.replace_input_with(use.idx, back)
