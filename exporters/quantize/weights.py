"""Weights and biases as integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgecnn.exporters.quantize.ranges import MIN_SCALE
from edgecnn.exporters.targets import Form

_BIAS_LIMIT = 1 << 30
"""The bias may fill half of the 32-bit accumulator. The other half holds 33,000 products of 255 * 127; the longest sum of
the classic networks, the first linear layer of VGG, has 25,088."""


@dataclass(frozen=True, slots=True)
class IntegerLayer:
    """A layer's constants as integers.

    Attributes:
        weight: int8, of the float weight's shape.
        weight_scale: float32 [channels], or [] for one scale of the whole layer.
        bias: int32 [channels] in units of input scale * weight scale, None without a bias.
    """

    weight: NDArray[np.int8]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.int32] | None

    def bias_scale(self, input_scale: np.float32) -> NDArray[np.float32]:
        """Return the units of the bias, float32 of the shape of `weight_scale`."""
        return np.asarray(input_scale * self.weight_scale, np.float32)


def one_scale(layer: ir.Node, form: Form) -> bool:
    """Tell whether a layer's weight has one scale in any case: TensorRT wants output channels along its first axis."""
    return form.edges == "inputs" and layer.op_type == "MatMul"


def quantize_layer(
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    *,
    axis: int,
    input_scale: np.float32,
    limit: int,
    per_channel: bool,
) -> IntegerLayer:
    """Return a layer's constants as integers, symmetric around zero.

    The scale is the smallest that holds every weight (Krishnamoorthi 2018, section 2.1), and the bias as well: a dead
    channel has no weights to speak of and may have any bias, which must not overflow in the tiny units that its
    weights would take.

    Args:
        weight: float, finite.
        bias: float [channels], finite, or None.
        axis: of the weight, that counts output channels.
        input_scale: of the layer's uint8 input.
        limit: greatest magnitude of a quantized weight, 127 or 63.
        per_channel: one scale per output channel.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight).max(axis=others).astype(np.float64) / limit
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias) / (_BIAS_LIMIT * float(input_scale)))
    scale = np.maximum(scale if per_channel else scale.max(), MIN_SCALE).astype(np.float32)
    column = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]) if per_channel else scale
    integers = np.clip(np.rint(weight / column), -limit, limit).astype(np.int8)
    layer = IntegerLayer(integers, scale, None)
    if bias is None:
        return layer
    units = layer.bias_scale(input_scale).astype(np.float64)
    return IntegerLayer(integers, scale, np.rint(bias / units).astype(np.int32))
