"""From the range of an activation to its scale and zero point, in the form of the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgecnn.exporters.passes.values import Array
from edgecnn.exporters.quantize.ranges import MIN_SCALE, Range, parameters
from edgecnn.exporters.targets import Form


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Scale (float32, above 0) and zero point of an 8-bit tensor: value = (quantized - zero point) * scale."""

    scale: np.float32
    zero_point: np.uint8 | np.int8


def choose_quantizer(chosen: Range, form: Form) -> Quantizer:
    """Return the scale and zero point that a range gets.

    Asymmetric ones of both types have the same steps (Jacob et al. 2018, section 2.1), so that a file computes the same with
    either. A symmetric one reaches as far below zero as above, 127 steps.
    """
    number = np.uint8 if form.activation == "uint8" else np.int8
    least, greatest = form.limits
    if form.symmetric:
        steps = (greatest - least) // 2
        scale = max(abs(chosen.low), abs(chosen.high)) / steps
        return Quantizer(np.float32(max(scale, MIN_SCALE)), number(greatest - steps))
    unsigned = parameters(chosen)
    return Quantizer(unsigned.scale, number(int(unsigned.zero_point) + least))


def quantize_constant(array: Array, quantizer: Quantizer, form: Form) -> Array:
    """Return an array in the integers of a quantizer."""
    least, greatest = form.limits
    steps = np.rint(array.astype(np.float64) / float(quantizer.scale)) + int(quantizer.zero_point)
    return np.asarray(np.clip(steps, least, greatest), quantizer.zero_point.dtype)
