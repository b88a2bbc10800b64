"""Counting values whose extent is not known beforehand, in one pass and constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecnn.exporters.quantize.ranges import MIN_SCALE

BINS = 2048
"""Bins from zero to the greatest magnitude, at least; TensorRT counts as many (Migacz 2017, slide 38)."""

_SIDE = 2 * BINS

_ROUNDING = 1e-3
"""Of a bin: positions are found in float32, so that a value on an edge may lie on either side of it."""


class Histogram:
    """Counts of values in equally wide bins on both sides of zero.

    The first values decide how wide a bin is; where later ones lie beyond the last bin, bins are merged in pairs until they
    do not. So between BINS and twice as many always reach from zero to the greatest magnitude, and no count is ever split.

    Attributes:
        width: of a bin; 0 while only zeros were seen, which are not counted.
        counts: int64 [4 * BINS]; the first half lies below zero.
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.counts: NDArray[np.int64] = np.zeros(2 * _SIDE, np.int64)

    def add(self, values: NDArray[np.floating], extent: float) -> None:
        """Count values [N], none of which has a magnitude above `extent`."""
        if extent < MIN_SCALE:
            return  # too narrow for a scale of its own: zero for any purpose
        if not self.width:
            self.width = extent / BINS
        while extent > self.width * _SIDE:
            self._widen()
        position = np.multiply(values, 1 / self.width, dtype=np.float32)
        np.floor(position, out=position)
        position += _SIDE
        index = np.clip(position, 0, 2 * _SIDE - 1, out=position).astype(np.intp)
        self.counts += np.bincount(index, minlength=2 * _SIDE)

    def between(self, low: float, high: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the counts int64 [K] of the bins that reach from low to high, and their edges float64 [K + 1]."""
        if not self.width:
            return np.zeros(0, np.int64), np.zeros(1)
        first = max(0, int(np.floor(low / self.width - _ROUNDING)) + _SIDE)
        last = min(2 * _SIDE, int(np.floor(high / self.width + _ROUNDING)) + 1 + _SIDE)
        edges = (np.arange(first, last + 1) - _SIDE) * self.width
        return self.counts[first:last], np.clip(edges, low, high)

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the counts of magnitudes, int64 [BINS]; a bin is twice `width` wide."""
        sides = self.counts[_SIDE:] + self.counts[_SIDE - 1 :: -1]
        magnitudes: NDArray[np.int64] = sides.reshape(BINS, 2).sum(axis=1)
        return magnitudes

    def _widen(self) -> None:
        self.width *= 2
        pairs = self.counts.reshape(_SIDE, 2).sum(axis=1)
        self.counts = np.zeros(2 * _SIDE, np.int64)
        self.counts[BINS : BINS + _SIDE] = pairs
