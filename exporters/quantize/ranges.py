"""The range of a tensor, and from the range to scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = 255
"""Steps of an unsigned 8-bit number."""

MIN_SCALE = 1e-8
"""Engines refuse a scale of zero; a tensor whose values all lie below this is zero for any purpose."""


@dataclass(frozen=True, slots=True)
class Range:
    """Lowest and highest value of a tensor; zero always lies inside, so that padding and ReLU are exact."""

    low: float
    high: float

    @staticmethod
    def around(low: float, high: float) -> Range:
        """Return the range from low to high, widened to zero."""
        return Range(min(float(low), 0.0), max(float(high), 0.0))

    def lies_in(self, other: Range) -> bool:
        """Tell whether the other range holds all of this one."""
        return other.low <= self.low and self.high <= other.high


@dataclass(frozen=True, slots=True)
class Parameters:
    """Scale (float32, above 0) and zero point (0..255) of a uint8 tensor: value = (quantized - zero point) * scale."""

    scale: np.float32
    zero_point: np.uint8


def parameters(chosen: Range) -> Parameters:
    """Return asymmetric uint8 parameters of a range (Jacob et al. 2018, section 2.1)."""
    scale = np.float32(max((chosen.high - chosen.low) / LEVELS, MIN_SCALE))
    zero_point = np.clip(np.rint(-chosen.low / float(scale)), 0, LEVELS)
    return Parameters(scale, np.uint8(zero_point))
