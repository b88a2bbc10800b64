"""ONNX layers with weights, windows or statistics -> torch, for `edgecnn.runtimes.torchops`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

Attributes = Mapping[str, Any]
Tensor = torch.Tensor

_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAXIMA: Mapping[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGES: Mapping[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _window(attributes: Attributes, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return strides and dilations, 1 along every axis where they are not given."""
    ones = [1] * len(kernel)
    return list(attributes.get("strides", ones)), list(attributes.get("dilations", ones))


def _sides(attributes: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """Return what is put before and behind each axis: `pads`, or what `auto_pad` asks for."""
    mode = attributes.get("auto_pad", "NOTSET")
    rank = len(kernel)
    if mode == "VALID":
        return [(0, 0)] * rank
    if mode == "NOTSET":
        pads = list(attributes.get("pads", [0] * (2 * rank)))
        return list(zip(pads[:rank], pads[rank:], strict=True))
    strides, dilations = _window(attributes, kernel)
    sides = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        sides.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return sides


def _around(x: Tensor, sides: Sequence[tuple[int, int]], value: float) -> Tensor:
    flat = [side for pair in reversed(sides) for side in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


def _conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = weight.shape[2:]
    strides, dilations = _window(attributes, kernel)
    sides = _sides(attributes, x.shape[2:], kernel)
    padding = [before for before, _ in sides]
    if any(before != behind for before, behind in sides):
        x, padding = _around(x, sides, 0), [0] * len(kernel)
    return _CONVOLUTIONS[len(kernel)](x, weight, bias, strides, padding, dilations, attributes.get("group", 1))


def _conv_transpose(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if "output_shape" in attributes or attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotImplementedError("output_shape and auto_pad of ConvTranspose")
    kernel = weight.shape[2:]
    strides, dilations = _window(attributes, kernel)
    extra = list(attributes.get("output_padding", [0] * len(kernel)))
    whole = _TRANSPOSED[len(kernel)](x, weight, bias, strides, 0, extra, attributes.get("group", 1), dilations)
    cut = [
        slice(before, size - behind)
        for (before, behind), size in zip(_sides(attributes, x.shape[2:], kernel), whole.shape[2:], strict=True)
    ]
    return whole[(slice(None), slice(None), *cut)]


def _room(attributes: Attributes, x: Tensor) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the padding of a pooling layer, and that with what `ceil_mode` adds behind it.

    A last window that would begin behind the image and its padding is left out.
    """
    kernel = attributes["kernel_shape"]
    strides, dilations = _window(attributes, kernel)
    sides = _sides(attributes, x.shape[2:], kernel)
    if not attributes.get("ceil_mode", 0):
        return sides, sides
    wider = []
    for size, (before, behind), window, stride, dilation in zip(
        x.shape[2:], sides, kernel, strides, dilations, strict=True
    ):
        reach = (window - 1) * dilation + 1
        count = math.ceil((size + before + behind - reach) / stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        wider.append((before, max(behind, (count - 1) * stride + reach - size - before)))
    return sides, wider


def _max_pool(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = attributes["kernel_shape"]
    strides, dilations = _window(attributes, kernel)
    _, sides = _room(attributes, x)
    whole = _around(x if x.is_floating_point() else x.float(), sides, -math.inf)
    pooled: Tensor = _MAXIMA[len(kernel)](whole, kernel, strides, 0, dilations)
    return pooled.to(x.dtype)


def _average_pool(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = attributes["kernel_shape"]
    strides, dilations = _window(attributes, kernel)
    if any(dilation != 1 for dilation in dilations):
        raise NotImplementedError("dilations of AveragePool")
    pads, sides = _room(attributes, x)
    pool = _AVERAGES[len(kernel)]
    pooled = pool(_around(x, sides, 0), kernel, strides)
    if not any(side for pair in sides for side in pair):
        return pooled
    # What a window divides by: pixels of the image, with its padding where that counts; never what ceil_mode added.
    counted = torch.ones_like(x[:1, :1])
    if attributes.get("count_include_pad", 0):
        counted = _around(counted, pads, 1)
        sides = [(0, wide - own) for (_, wide), (_, own) in zip(sides, pads, strict=True)]
    return pooled / pool(_around(counted, sides, 0), kernel, strides)


def _batch_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if attributes.get("training_mode", 0):
        raise NotImplementedError("BatchNormalization in training mode")
    return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, attributes.get("epsilon", 1e-5))


def _instance_norm(attributes: Attributes, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=shift, eps=attributes.get("epsilon", 1e-5))


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[attributes.get("axis", -1) :], scale, shift, attributes.get("epsilon", 1e-5))


def _lrn(attributes: Attributes, x: Tensor) -> Tensor:
    size = attributes["size"]
    if size % 2 == 0:
        raise NotImplementedError("an even size of LRN")
    alpha, beta, bias = attributes.get("alpha", 1e-4), attributes.get("beta", 0.75), attributes.get("bias", 1.0)
    return F.local_response_norm(x, size, alpha, beta, bias)


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b) if attributes.get("alpha", 1.0) != 1.0 else a @ b
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _over_image(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda attributes, x: function(x, dim=list(range(2, x.ndim)), keepdim=True)


LAYERS: Mapping[str, Callable[..., Any]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _over_image(torch.mean),
    "GlobalMaxPool": _over_image(torch.amax),
    "InstanceNormalization": _instance_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
}
"""Operators of the domain ai.onnx with weights, windows or statistics."""
