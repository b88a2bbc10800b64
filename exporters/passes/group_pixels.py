"""The first int8 convolution reads a row of pixels as groups of four bytes, as it lies in memory.

Four pixels of three channels are three groups of four bytes. A convolution whose stride goes evenly into four pixels (or four
pixels into its stride) can therefore read groups as if each was one pixel of four channels: it makes all outputs that begin
within one period of pixels at once, as so many more output channels, and its weights stand where the bytes of its window lie.
Channels last, as ONNX Runtime runs int8 convolutions, neither the bytes before nor the outputs behind have to be moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.centre_pixels import WidenedPixels, widened_pixels
from edgecnn.exporters.passes.costs import INT8_COSTS
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
    unique_name,
)

_GROUP = 4
"""Bytes that the direct int8 kernels of ONNX Runtime (MlasConvSym) take as the channels of one pixel, at least."""

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
        integers: the weights, int8 [outputs, widened channels, height, width].
        size: height and width of the result.
    """

    node: ir.Node
    image: WidenedPixels
    source: ir.Node
    weight: ir.Node
    quantizer: ir.Node
    integers: Array
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """How rows become groups.

    Attributes:
        step: groups from one window to the next.
        together: outputs of one row that are made at once.
        window: groups that they read.
        offset: bytes of the first group that lie before the first window.
        left: bytes that are put before each row.
        right: bytes that are put behind it.
        top: rows that are put above.
        bottom: rows that are put below.
        groups: of a row with all that.
    """

    step: int
    together: int
    window: int
    offset: int
    left: int
    right: int
    top: int
    bottom: int
    groups: int


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
    """Return a convolution of widened pixels with all that has to change with it; None for any other."""
    source, weight = (_dequantizer(value) for value in node.inputs[:2])
    quantizer = only_use(node.outputs[0])
    if source is None or weight is None or not is_op(quantizer, "QuantizeLinear"):
        return None
    image = widened_pixels(source.inputs[0])
    integers = constant(weight.inputs[0])
    size = dimensions(node.outputs[0])
    scale = constant(quantizer.inputs[1])  # type: ignore[union-attr]
    usual = (
        attribute(node, "group", 1) == 1
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        and set(attribute(node, "dilations", (1, 1))) == {1}
    )
    shared = only_use(source.outputs[0]) is None or only_use(weight.outputs[0]) is None
    if image is None or integers is None or scale is None or scale.size != 1 or not usual or shared:
        return None
    if size is None or None in size[1:] or len(size) != 4 or integers.shape[1] != image.widened:
        return None
    return _Layer(
        node=node,
        image=image,
        source=source,
        weight=weight,
        quantizer=quantizer,  # type: ignore[arg-type]
        integers=integers,
        size=(int(size[2]), int(size[3])),  # type: ignore[arg-type]
    )


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if is_op(producer, "DequantizeLinear") else None


def _layout(layer: _Layer) -> _Layout | None:
    """Return how rows become groups; None where windows do not begin at the same byte of a group."""
    channels, (height, width) = layer.image.channels, layer.image.size
    tall, wide = layer.integers.shape[2:]
    down, across = attribute(layer.node, "strides", (1, 1))
    top, before, _, _ = attribute(layer.node, "pads", (0, 0, 0, 0))
    period = math.lcm(_GROUP, across)
    together = period // across
    if layer.size[1] % together:
        return None
    periods, step = layer.size[1] // together, period * channels // _GROUP
    left = -(-channels * before // _GROUP) * _GROUP
    offset = left - channels * before
    window = -(-(offset + channels * ((together - 1) * across + wide)) // _GROUP)
    row = left + channels * width
    right = ((periods - 1) * step + window) * _GROUP - row
    if right < 0:
        right = -row % _GROUP
    groups = (row + right) // _GROUP
    if (groups - window) // step + 1 != periods:
        return None
    bottom = max(0, (layer.size[0] - 1) * down + tall - top - height)
    return _Layout(
        step=step,
        together=together,
        window=window,
        offset=offset,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        groups=groups,
    )


def _gains(layer: _Layer, layout: _Layout) -> bool:
    """Tell whether moving bytes costs more than the border that replaces it, and the products with zeros are few."""
    _, widened, _, wide = layer.integers.shape
    products = layout.window * _GROUP / (widened * wide)
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
    total = layer.integers[:, layer.image.channels :].astype(np.int64).sum(axis=(1, 2, 3)) * layer.image.inside
    inputs = layer.node.inputs
    if len(inputs) > 2 and inputs[2] is not None:
        source = _dequantizer(inputs[2])
        integers = constant(source.inputs[0]) if source is not None else None
        if integers is None or integers.dtype != np.int32:
            return None
        total += integers
    limits = np.iinfo(np.int32)
    return (total.astype(np.int32), scale) if limits.min <= total.min() and total.max() <= limits.max else None


def _read_groups(layer: _Layer, layout: _Layout) -> None:
    """Let the convolution read the pixels as groups, with what lies beyond the image around them."""
    image, node = layer.image, layer.source
    channels, (height, width) = image.channels, image.size
    border, tall = _Border(layer), height + layout.top + layout.bottom
    rows = _reshaped(node, image.pixels, [height, width * channels])
    above = np.tile(image.beyond, width)
    rows = border.put_around(rows, np.tile(above, (layout.top, 1)), np.tile(above, (layout.bottom, 1)), axis=1)
    before, behind = (np.tile(beside, (tall, 1)) for beside in _beside(image, layout))
    rows = border.put_around(rows, before, behind, axis=2)
    grouped = _reshaped(node, rows, [tall, layout.groups, _GROUP])
    batch = grouped.shape[0]  # type: ignore[index]
    shape = ir.Shape([batch, _GROUP, tall, layout.groups])
    moved = insert_before(node, "Transpose", [grouped], {"perm": TO_CHANNELS_FIRST}, wish="pixels_groups", shape=shape)
    node.replace_input_with(0, moved)
    node.outputs[0].shape = shape


def _beside(image: WidenedPixels, layout: _Layout) -> tuple[Array, Array]:
    """Return the bytes that are put before and behind each row; the weights of those that are no pixels are zero."""
    before = np.full(layout.left, image.zero, np.uint8)
    pixels = (layout.left - layout.offset) // image.channels
    before[layout.offset :] = np.tile(image.beyond, pixels)
    behind = np.resize(image.beyond, layout.right) if layout.right else np.empty(0, np.uint8)
    return before, behind


class _Border:
    """Puts constants around the rows of a batch of any size."""

    def __init__(self, layer: _Layer) -> None:
        self._node = layer.source
        self._pixels = layer.image.pixels
        self._count: ir.Value | None = None

    def put_around(self, rows: ir.Value, before: Array, behind: Array, *, axis: int) -> ir.Value:
        """Return [N, rows, bytes] with constant [rows, bytes] on both sides along an axis; empty ones are left out."""
        assert rows.shape is not None
        first, last = (self._block(part, rows.shape[0]) if part.size else None for part in (before, behind))
        parts = [part for part in (first, rows, last) if part is not None]
        if len(parts) == 1:
            return rows
        shape = list(rows.shape)
        shape[axis] = sum(int(part.shape[axis]) for part in parts)  # type: ignore[index, arg-type, misc]
        return insert_before(self._node, "Concat", parts, {"axis": axis}, wish="pixels_border", shape=ir.Shape(shape))

    def _block(self, content: Array, batch: Any) -> ir.Value:
        """Return bytes [rows, bytes] once for each image."""
        graph = self._node.graph
        assert isinstance(graph, ir.Graph)
        shape = ir.Shape([batch, *content.shape])
        if isinstance(batch, int):
            block = np.ascontiguousarray(np.broadcast_to(content, (batch, *content.shape)))
            return add_constant(graph, "pixels_beyond", block)
        once = add_constant(graph, "pixels_beyond", content[None])
        sizes = add_constant(graph, "pixels_beyond_size", np.asarray(content.shape, np.int64))
        wanted = insert_before(
            self._node, "Concat", [self._batch(), sizes], {"axis": 0}, wish="pixels_beyond_shape", shape=ir.Shape([3])
        )
        return insert_before(self._node, "Expand", [once, wanted], wish="pixels_beyond_all", shape=shape)

    def _batch(self) -> ir.Value:
        """Return how many images there are, int64 [1]."""
        if self._count is None:
            attributes = {"start": 0, "end": 1}
            self._count = insert_before(
                self._node, "Shape", [self._pixels], attributes, wish="pixels_batch", shape=ir.Shape([1])
            )
            self._count.type = ir.TensorType(ir.DataType.INT64)
        return self._count


def _reshaped(node: ir.Node, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Return a value of a batch in another shape, before a node."""
    assert isinstance(node.graph, ir.Graph) and value.shape is not None
    wanted = add_constant(node.graph, "pixels_rows_shape", np.asarray([0, *shape], np.int64))
    return insert_before(node, "Reshape", [value, wanted], wish="pixels_rows", shape=ir.Shape([value.shape[0], *shape]))


def _move_weights(layer: _Layer, layout: _Layout, bias: tuple[Array, Array]) -> None:
    """Put weights where the bytes of their window lie, once for each output that is made at once."""
    node, together = layer.node, layout.together
    across = attribute(node, "strides", (1, 1))[1]
    outputs, _, tall, wide = layer.integers.shape
    moved = np.zeros((together, outputs, tall, layout.window * _GROUP), np.int8)
    for place in range(together):
        for column in range(wide):
            first = layout.offset + layer.image.channels * (place * across + column)
            for channel in range(layer.image.channels):
                moved[place, :, :, first + channel] = layer.integers[:, channel, :, column]
    groups = moved.reshape(together * outputs, tall, layout.window, _GROUP).transpose(0, 3, 1, 2)
    _set_constants(layer.weight, np.ascontiguousarray(groups), together)
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


def _give_pixels(layer: _Layer, layout: _Layout) -> None:
    """Let what reads the convolution's bytes read them as one pixel per output again."""
    result, quantized = layer.node.outputs[0], layer.quantizer.outputs[0]
    graph, shape = layer.node.graph, quantized.shape
    assert isinstance(graph, ir.Graph) and shape is not None
    outputs = len(layer.integers)
    tall, wide = layer.size
    readers = tuple(quantized.uses())
    together = ir.Shape([shape[0], outputs * layout.together, tall, wide // layout.together])
    result.name = unique_name(graph, f"{result.name}_grouped")
    result.shape = quantized.shape = together
    after = readers[0].node
    last = insert_before(
        after,
        "Transpose",
        [quantized],
        {"perm": _CHANNELS_LAST},
        wish="pixels_outputs",
        shape=ir.Shape([shape[0], tall, wide // layout.together, outputs * layout.together]),
    )
    apart = _reshaped(after, last, [tall, wide, outputs])
    back = insert_before(after, "Transpose", [apart], {"perm": TO_CHANNELS_FIRST}, wish="pixels_outputs", shape=shape)
    for use in readers:
        use.node.replace_input_with(use.idx, back)
