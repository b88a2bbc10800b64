"""How long a block of the bootstrap must be: as long as neighbouring samples resemble each other.

The rule is that of Politis and White 2004 (Econometric Reviews 23, 53) with the correction of Patton, Politis and White
2009 (Econometric Reviews 28, 372): the length that is best for the circular block bootstrap of a mean. The bootstrap
of the median is one of the mean of "above or below the median" (Sun and Lahiri 2006, Sankhya 68), and the rule is applied
to that series; an outlier moves it no further than any other sample.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SIGNIFICANT = 2.0
"""Autocorrelations below this many times sqrt(log10(n) / n) count as none (Politis and White 2004, section 3.2)."""

_FLAT_LAGS = 5
"""So many in a row must count as none, or sqrt(log10(n)) where that is more (the same place)."""


def block_length(series: Floats) -> int:
    """Return the best block length for the mean of a series, at least 1 and at most min(3 sqrt(n), n / 3).

    Args:
        series: float64 [n], in order; its mean is taken off here.
    """
    n = series.size
    if n < 4:
        return 1
    longest = max(1, math.ceil(min(3 * math.sqrt(n), n / 3)))
    covariances = _autocovariances(series, min(n - 1, 2 * _most_lags(n)))
    if covariances[0] <= 0:
        return 1
    lags = _lags_that_matter(covariances / covariances[0], n)
    if lags == 0:
        return 1
    steps = np.arange(-lags, lags + 1)
    weights = np.clip(2 * (1 - np.abs(steps) / lags), 0, 1)
    values = covariances[np.abs(steps)]
    spectrum = float((weights * values).sum())
    slope = float((weights * np.abs(steps) * values).sum())
    if spectrum <= 0:
        return 1
    # 2 G^2 / D with D = 4/3 g(0)^2 for the circular bootstrap.
    best = math.pow(2 * slope**2 / (4 / 3 * spectrum**2) * n, 1 / 3)
    return max(1, min(longest, math.ceil(best)))


def _most_lags(n: int) -> int:
    return math.ceil(math.sqrt(n)) + max(_FLAT_LAGS, math.ceil(math.sqrt(math.log10(n))))


def _lags_that_matter(correlations: Floats, n: int) -> int:
    """Return twice the last lag that stands out before a row of lags that do not; the lags of the flat-top window."""
    bound = _SIGNIFICANT * math.sqrt(math.log10(n) / n)
    flat = max(_FLAT_LAGS, math.ceil(math.sqrt(math.log10(n))))
    most = min(_most_lags(n), correlations.size - 1)
    small = np.abs(correlations[1 : most + 1]) < bound
    for last in range(most - flat + 1):
        if small[last : last + flat].all():
            return min(2 * last, correlations.size - 1)
    large = np.flatnonzero(~small)
    return min(2 * (int(large[-1]) + 1), correlations.size - 1) if large.size else 0


def _autocovariances(series: Floats, lags: int) -> Floats:
    """Return float64 [lags + 1], divided by n at every lag; by Fourier transform."""
    centred = series - series.mean()
    size = 1 << (2 * series.size - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    found: Floats = np.fft.irfft(power, size)[: lags + 1] / series.size
    return found
