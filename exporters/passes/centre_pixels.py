"""Pixels minus their means become pixels minus one whole number, which are bytes with a zero point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
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
    layer_bias,
    set_constant,
)

_ALIGNMENT = 4
"""Input channels that the direct int8 kernels of ONNX Runtime (MlasConvSym) take at a time."""

_GREATEST = 255

# Of a value in the graph: what lies beyond the image, for passes that come later. It is not written into the file.
_MEANS = "edgecnn.means"


class CentrePixels(Pass):
    """Subtracts one whole number from all channels of the model's pixels, and lets the convolutions make up for the rest.

    The quantized image is then the pixels themselves, with that number as their zero point. What is missing is a constant
    where a convolution sees nothing but image, and goes into its bias. Where it pads with zeros, which stand for the mean of
    each channel, a further channel tells inside from outside: it has one value in the image and zero beyond, and its weights
    carry what is missing. int8 engines want four channels anyway.

    Requires: Transpose and Cast of an input of bytes, and a Sub of a constant per channel that nothing but convolutions read.
    Ensures: no such Sub has constants that differ or are not whole.

    Args:
        min_channels: a convolution of several pixels with fewer output channels stays float, and all is left as it is.
    """

    name = "centre-pixels"

    def __init__(self, min_channels: int = INT8_COSTS.least_channels) -> None:
        self.min_channels = min_channels

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(self._rewrite(node) for node in tuple(model.graph) if is_op(node, "Sub")) > 0

    def _rewrite(self, node: ir.Node) -> bool:
        pixels, means = _channels_first(node.inputs[0]), _means(node)
        readers = [use.node for use in node.outputs[0].uses() if use.idx == 0]
        good = len(readers) == len(tuple(node.outputs[0].uses())) > 0 and not node.outputs[0].is_graph_output()
        if pixels is None or means is None or not good or not all(map(self._gains, readers)):
            return False
        zero = min(round(float(means.mean())), _GREATEST - 1)
        missing = zero - means
        padded = [reader for reader in readers if any(attribute(reader, "pads", (0,)))] if missing.any() else []
        further = _further_channels(readers, len(means), least=1 if padded else 0)
        value = _least_value(padded, missing, _GREATEST - zero)
        for reader in readers:
            _make_up(reader, missing, further, value if reader in padded else 0)
        moved = _channels_moved(node, pixels, further, zero + value)
        if further:
            moved.meta[_MEANS] = (zero, value, tuple(means))
        node.replace_input_with(0, _cast(node, moved))
        node.replace_input_with(1, _scalar(node, float(zero)))
        node.outputs[0].shape = node.inputs[0].shape  # type: ignore[union-attr]
        return True

    def _gains(self, node: ir.Node) -> bool:
        """Tell whether this is a convolution that int8 engines run and that a channel can be added to."""
        if not is_op(node, "Conv") or attribute(node, "group", 1) != 1:
            return False
        weight = constant(node.inputs[1])
        if weight is None or weight.dtype != np.float32 or attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            return False
        wide_enough = len(weight) >= self.min_channels or weight[0, 0].size == 1
        return wide_enough and layer_bias(node, len(weight)) is not None


def pixel_limits(value: ir.Value) -> tuple[float, float] | None:
    """Return the least and greatest value of bytes minus one whole number; None for any other tensor."""
    node = value.producer()
    if node is None or not is_op(node, "Sub") or _pixels(node.inputs[0]) is None:
        return None
    zero = constant(node.inputs[1])
    if zero is None or zero.size != 1 or float(zero.reshape(())) not in range(_GREATEST + 1):
        return None
    least = -float(zero.reshape(()))
    return least, least + _GREATEST


@dataclass(frozen=True, slots=True, kw_only=True)
class WidenedPixels:
    """Bytes that got further channels of one value, and what they stand for.

    Attributes:
        pixels: the model's input, uint8 [N, height, width, channels].
        size: height and width.
        channels: of the pixels.
        widened: channels with the further ones.
        zero: zero point, from which the graph counts.
        inside: value of the further channels within the image, counted from there; it is zero beyond.
        beyond: value of each channel beyond the image, rounded, uint8 [channels].
    """

    pixels: ir.Value
    size: tuple[int, int]
    channels: int
    widened: int
    zero: int
    inside: int
    beyond: Array


def widened_pixels(value: ir.Value | None) -> WidenedPixels | None:
    """Return what the bytes are that `CentrePixels` widened and a dequantizer reads; None for any other value."""
    means = value.meta.get(_MEANS) if value is not None else None
    pixels = value
    while means is not None and pixels is not None and (node := pixels.producer()) is not None:
        pixels = node.inputs[0]
    if value is None or pixels is None or means is None or pixels.shape is None or value.shape is None:
        return None
    _, height, width, channels = pixels.shape
    zero, inside, each = means
    return WidenedPixels(
        pixels=pixels,
        size=(int(height), int(width)),  # type: ignore[arg-type]
        channels=int(channels),  # type: ignore[arg-type]
        widened=int(value.shape[1]),  # type: ignore[arg-type]
        zero=zero,
        inside=inside,
        beyond=np.rint(np.asarray(each)).astype(np.uint8),
    )


def _pixels(value: ir.Value | None) -> ir.Value | None:
    """Return the bytes behind a float tensor that has their values, as they come into the model."""
    cast = False
    while (
        value is not None
        and (node := value.producer()) is not None
        and is_op(node, "Cast", "Transpose", "Reshape", "Pad")
    ):
        cast |= is_op(node, "Cast")
        value = node.inputs[0]
    good = cast and value is not None and value.is_graph_input() and value.dtype == ir.DataType.UINT8
    return value if good else None


def _channels_first(value: ir.Value | None) -> ir.Value | None:
    """Return the bytes [N, height, width, channels] behind a tensor that is nothing but these as floats, channels first."""
    pixels = _pixels(value)
    steps = []
    while value is not None and value is not pixels and (node := value.producer()) is not None:
        steps.append(node)
        value = node.inputs[0]
    order = [attribute(node, "perm", ()) for node in steps if is_op(node, "Transpose")]
    return pixels if len(steps) == 2 and order == [TO_CHANNELS_FIRST] else None


def _means(node: ir.Node) -> Array | None:
    """Return what a Sub takes away from each channel, in double precision; None where that is one number, or more."""
    found = constant(node.inputs[1])
    if found is None or found.ndim != 4 or found.size != found.shape[1]:
        return None
    shape = dimensions(node.inputs[0])
    if shape is None or len(shape) != 4 or shape[1] != found.size:
        return None
    means = found.reshape(-1).astype(np.float64)
    return means if ((means >= 0) & (means <= _GREATEST)).all() else None


def _further_channels(readers: list[ir.Node], channels: int, *, least: int) -> int:
    """Return how many channels are added: at least so many, or as many as the fast kernels want."""
    weights = [constant(reader.inputs[1]) for reader in readers]
    fast = any(w is not None and len(w) >= INT8_COSTS.least_channels and w[0, 0].size > 1 for w in weights)
    return (-channels - least) % _ALIGNMENT + least if fast else least


def _least_value(padded: list[ir.Node], missing: Array, most: int) -> int:
    """Return the least value of the further channel with which none of its weights is the greatest of its layer's outputs.

    A greater value would make its weights smaller, and what their rounding to int8 loses greater.
    """
    ratios = [0.0]
    for node in padded:
        weight = constant(node.inputs[1])
        assert weight is not None
        wanted = np.abs(_lacking(weight, missing)).reshape(len(weight), -1).max(axis=1)
        own = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        ratios += list(wanted[own > 0] / own[own > 0])
    return int(np.clip(np.ceil(max(ratios)), 1, most))


def _lacking(weight: Array, missing: Array) -> Array:
    """Return what each tap of each output lacks, float64 [outputs, 1, height, width]."""
    return np.asarray(np.einsum("oc...,c->o...", weight.astype(np.float64), missing)[:, None])


def _make_up(node: ir.Node, missing: Array, further: int, value: int) -> None:
    """Put what is missing into the weights of the further channel where that has a value, else into the bias."""
    weight = constant(node.inputs[1])
    assert weight is not None
    lacking = _lacking(weight, missing)
    if further:
        added = np.zeros((len(weight), further, *weight.shape[2:]))
        if value:
            added[:, :1] = lacking / value
        set_constant(node, 1, np.concatenate([weight, added], axis=1).astype(np.float32))
    if not value:
        bias = layer_bias(node, len(weight))
        assert bias is not None
        set_constant(node, 2, (bias + lacking.reshape(len(weight), -1).sum(axis=1)).astype(np.float32))


def _channels_moved(node: ir.Node, pixels: ir.Value, further: int, value: int) -> ir.Value:
    """Return the bytes [N, channels, height, width], further channels of one value added."""
    old = node.inputs[0]
    assert old is not None and old.shape is not None
    if further:
        return _widened(node, pixels, old.shape, further, value)
    return _step(node, "Transpose", pixels, list(old.shape), perm=TO_CHANNELS_FIRST)


def _cast(node: ir.Node, value: ir.Value) -> ir.Value:
    cast = _step(node, "Cast", value, list(value.shape or ()), to=ir.DataType.FLOAT.value)
    cast.type = ir.TensorType(ir.DataType.FLOAT)
    return cast


def _widened(node: ir.Node, pixels: ir.Value, shape: ir.Shape, further: int, value: int) -> ir.Value:
    """Return the bytes [N, channels, height, width] with further channels of one value behind.

    ONNX Runtime moves a Transpose behind a Pad of its result where it can, and a Pad of three bytes to four, pixel by pixel,
    takes five times as long as all of this: with height and width in one, it cannot.
    """
    batch, channels, height, width = shape
    area, wide = int(height) * int(width), int(channels) + further  # type: ignore[arg-type]
    amounts = np.asarray([0, 0, 0, 0, further, 0]), np.asarray(value, np.uint8)
    flat = _step(node, "Reshape", pixels, [batch, area, channels], [np.asarray([0, -1, channels])])
    moved = _step(node, "Transpose", flat, [batch, channels, area], perm=(0, 2, 1))
    padded = _step(node, "Pad", moved, [batch, wide, area], amounts)
    return _step(node, "Reshape", padded, [batch, wide, height, width], [np.asarray([0, wide, height, width])])


def _step(
    node: ir.Node, op_type: str, source: ir.Value, shape: list[Any], constants: Sequence[Array] = (), **attributes: Any
) -> ir.Value:
    """Return the result of a new node before another one, its further inputs being constants."""
    assert isinstance(node.graph, ir.Graph)
    wish = f"pixels_{op_type.lower()}"
    added = [add_constant(node.graph, f"{wish}_constant", array) for array in constants]
    return insert_before(node, op_type, [source, *added], attributes, wish=wish, shape=ir.Shape(shape))


def _scalar(node: ir.Node, value: float) -> ir.Value:
    assert isinstance(node.graph, ir.Graph)
    return add_constant(node.graph, "pixels_zero_point", np.asarray(value, np.float32))
