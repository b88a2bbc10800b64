"""How the range of an activation is taken out of what was observed of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.exporters.quantize.config import Method
from edgecnn.exporters.quantize.histogram import Histogram
from edgecnn.exporters.quantize.ranges import LEVELS, Range, parameters

DEFAULT_PERCENTILE = 99.99

MOMENTUM = 0.9
"""Of method "moving-average": what the past weighs against the next group of images. Engines that update thousands of
times take 0.99; a calibration set has a few dozen groups."""

GROUP = 8
"""Images whose common extremes are one step of the moving average."""

HISTOGRAM_METHODS = ("percentile", "entropy", "mse")
"""Methods that look at more than extremes."""

# Shares of the observed range that method "mse" tries on each side; below a fifth the bins, a few to a step, are too wide
# to tell how much rounding costs.
_SHARES = np.linspace(0.2, 1.0, 81)
_ROUNDS = 2

# Method "entropy": levels of a magnitude in int8, and how many bins the threshold moves at a time.
_ENTROPY_LEVELS = 128
_ENTROPY_STEP = 8
_ENTROPY_FLOOR = 1e-4


@dataclass(slots=True, kw_only=True)
class Observation:
    """What was seen of one tensor.

    Attributes:
        low: least value.
        high: greatest value.
        average_low: moving average of the least value of a group of images.
        average_high: of the greatest.
        histogram: counts, None where no method that needs them was asked for.
    """

    low: float
    high: float
    average_low: float
    average_high: float
    histogram: Histogram | None = None

    @property
    def constant(self) -> bool:
        """Whether every value was the same."""
        return self.low == self.high


def choose_range(seen: Observation, method: Method, percentile: float | None = None) -> Range:
    """Return the range that a method takes out of an observation; never beyond what was seen but to include zero.

    Args:
        seen: with a histogram for the methods that need one; what is constant or next to zero needs none.
        method: see `QuantizeConfig.method`.
        percentile: for method "percentile", percent of the values; None for 99.99.
    """
    whole = Range.around(seen.low, seen.high)
    if method == "moving-average":
        return Range.around(max(seen.average_low, whole.low), min(seen.average_high, whole.high))
    if method == "minmax" or seen.constant or seen.histogram is None or not seen.histogram.width:
        return whole
    if method == "percentile":
        return _percentile_range(seen.histogram, whole, DEFAULT_PERCENTILE if percentile is None else percentile)
    if method == "entropy":
        return _entropy_range(seen.histogram, whole)
    return _least_error_range(seen.histogram, whole)


def _percentile_range(histogram: Histogram, whole: Range, percentile: float) -> Range:
    """Return the range that keeps that share of the values; a range that starts or ends at zero is cut at its other end."""
    counts, edges = histogram.between(whole.low, whole.high)
    cut = 1 - percentile / 100
    if whole.low < 0 < whole.high:
        cut /= 2
    share = np.concatenate(([0.0], np.cumsum(counts) / counts.sum()))
    low = edges[np.searchsorted(share, cut, side="right") - 1] if whole.low < 0 else 0.0
    high = edges[np.searchsorted(share, 1 - cut, side="left")] if whole.high > 0 else 0.0
    return Range.around(low, high)


def _entropy_range(histogram: Histogram, whole: Range) -> Range:
    """Return the range cut at the magnitude that loses the least information in 128 levels.

    The threshold is the one whose clipped distribution has the least Kullback-Leibler divergence from its own quantized
    form (Migacz, "8-bit Inference with TensorRT", GTC 2017, slides 38 to 41). The first bin counts as much as the second,
    as in NVIDIA's pytorch-quantization: ReLU fills it with zeros, which any scale holds exactly.
    """
    counts = histogram.magnitudes().astype(np.float64)
    counts[0] = counts[1]
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    stops = list(range(_ENTROPY_LEVELS, used, _ENTROPY_STEP))
    if not stops:
        return whole
    best = min([*stops, used], key=lambda stop: _divergence(counts, stop))
    threshold = best * 2 * histogram.width
    return Range.around(max(whole.low, -threshold), min(whole.high, threshold))


def _divergence(counts: NDArray[np.float64], stop: int) -> float:
    """Return the divergence of the first bins, all others clipped into the last, from their form in 128 levels."""
    kept = counts[:stop]
    reference = kept.copy()
    reference[-1] += counts[stop:].sum()
    starts = np.ceil(np.arange(_ENTROPY_LEVELS) * (stop / _ENTROPY_LEVELS)).astype(np.intp)
    filled = kept > 0
    sums, bins = np.add.reduceat(kept, starts), np.add.reduceat(filled.astype(np.float64), starts)
    level = np.repeat(np.arange(_ENTROPY_LEVELS), np.diff(np.append(starts, stop)))
    quantized = np.where(filled, (sums / np.maximum(bins, 1))[level], 0.0)
    if not quantized.any():
        return np.inf
    p, q = reference / reference.sum(), quantized / quantized.sum()
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], _ENTROPY_FLOOR / stop))))


def _least_error_range(histogram: Histogram, whole: Range) -> Range:
    """Return the range with the least mean squared error, one end improved after the other."""
    counts, edges = histogram.between(whole.low, whole.high)
    values = (edges[:-1] + edges[1:]) / 2
    low, high = whole.low, whole.high
    for _ in range(_ROUNDS if low < 0 < high else 1):
        if whole.high > 0:
            high = min(whole.high * _SHARES, key=lambda end: _squared_error(counts, values, Range(low, end)))
        if whole.low < 0:
            low = min(whole.low * _SHARES, key=lambda end: _squared_error(counts, values, Range(end, high)))
    return Range.around(low, high)


def _squared_error(counts: NDArray[np.int64], values: NDArray[np.float64], chosen: Range) -> float:
    """Return the sum of squared differences between the values and their quantized form, clipping included."""
    parts = parameters(chosen)
    scale, zero_point = float(parts.scale), float(parts.zero_point)
    quantized = np.clip(np.rint(values / scale) + zero_point, 0, LEVELS)
    difference = values - (quantized - zero_point) * scale
    return float(np.dot(counts, difference * difference))
