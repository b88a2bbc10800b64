"""From what was observed of a tensor to its range, and from the range to scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.exporters.quantize.config import Method

LEVELS = 255
"""Steps of an unsigned 8-bit number."""

MIN_SCALE = 1e-8
"""Engines refuse a scale of zero; a tensor whose values all lie below this is zero for any purpose."""

BINS = 2048
"""Of a histogram: eight per step of the quantized range, so that a range can be cut to an eighth of a step."""

# Shares of the observed range that method "mse" tries on each side; below a fifth the bins, two to a step, are too wide to
# tell how much rounding costs.
_SHARES = np.linspace(0.2, 1.0, 81)
_ROUNDS = 2

DEFAULT_PERCENTILE = 99.99


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


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts int64 [BINS] of equally wide bins over a range."""

    range: Range
    counts: NDArray[np.int64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin, float64 [BINS]."""
        low, high = self.range.low, self.range.high
        width = (high - low) / BINS
        return np.arange(BINS, dtype=np.float64) * width + (low + width / 2)


def parameters(chosen: Range) -> Parameters:
    """Return asymmetric uint8 parameters of a range (Jacob et al. 2018, section 2.1)."""
    scale = np.float32(max((chosen.high - chosen.low) / LEVELS, MIN_SCALE))
    zero_point = np.clip(np.rint(-chosen.low / float(scale)), 0, LEVELS)
    return Parameters(scale, np.uint8(zero_point))


def choose_range(histogram: Histogram, method: Method, percentile: float | None = None) -> Range:
    """Return the range that a method takes out of a histogram; all of it where nothing was counted."""
    if not histogram.counts.any():
        return histogram.range
    if method == "percentile":
        return _percentile_range(histogram, DEFAULT_PERCENTILE if percentile is None else percentile)
    if method == "mse":
        return _least_error_range(histogram)
    return histogram.range


def _percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Return the range that keeps that share of the values; a range that starts or ends at zero is cut at its other end."""
    whole = histogram.range
    cut = 1 - percentile / 100
    if whole.low < 0 < whole.high:
        cut /= 2
    share = np.concatenate(([0.0], np.cumsum(histogram.counts) / histogram.counts.sum()))
    edges = np.linspace(whole.low, whole.high, BINS + 1)
    low = edges[np.searchsorted(share, cut, side="right") - 1] if whole.low < 0 else 0.0
    high = edges[np.searchsorted(share, 1 - cut, side="left")] if whole.high > 0 else 0.0
    return Range.around(low, high)


def _least_error_range(histogram: Histogram) -> Range:
    """Return the range with the least mean squared error, one end improved after the other."""
    whole = histogram.range
    low, high = whole.low, whole.high
    for _ in range(_ROUNDS if low < 0 < high else 1):
        if whole.high > 0:
            high = min(whole.high * _SHARES, key=lambda end: _squared_error(histogram, Range(low, end)))
        if whole.low < 0:
            low = min(whole.low * _SHARES, key=lambda end: _squared_error(histogram, Range(end, high)))
    return Range.around(low, high)


def _squared_error(histogram: Histogram, chosen: Range) -> float:
    """Return the sum of squared differences between the values and their quantized form, clipping included."""
    parts = parameters(chosen)
    scale, zero_point = float(parts.scale), float(parts.zero_point)
    values = histogram.centres
    quantized = np.clip(np.rint(values / scale) + zero_point, 0, LEVELS)
    difference = values - (quantized - zero_point) * scale
    return float(np.dot(histogram.counts, difference * difference))
