"""Signal over noise of a tensor, and whether the noise is only that a rewrite scaled or moved its channels."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgecnn.exporters.decibels import decibels
from edgecnn.runtimes.base import Array

Match = Literal["same", "scaled", "reordered"]

_GAIN_DB = 10.0
"""What taking a factor of each channel out must gain: quantization noise is not of that kind, and gives nearly nothing."""

_LOUD_DB = 6.0
"""Above this a tensor is no other tensor in disguise."""

_ALIKE = 0.75
"""Correlation of two channels above which they are the same but for a factor: noise of 6 dB leaves 0.89, of 0 dB 0.71."""

_MOST = 0.75
"""Share of the channels that must find their like, each another one; a faint one may drown in the noise of its scale."""

_MOVED = 0.2
"""Share of the channels that must find it elsewhere: fewer leave more than 6 dB."""

_LEAST_CHANNELS = 4

_LEAST_SAMPLES = 8
"""Values of a channel; a factor for each fits fewer of them by chance."""

_MOST_SAMPLES = 4096
"""Values of a channel that correlations are taken over, of the first batch."""


class ChannelPower:
    """Powers of a reference, of what is given in its place and of both together, per channel, summed up batch by batch.

    Attributes:
        low: least value of the reference.
        high: greatest value of the reference.
        same_shape: False once both were of different shapes; nothing was compared then.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.same_shape = True
        self._reference: Array = np.zeros(1)
        self._given: Array = np.zeros(1)
        self._both: Array = np.zeros(1)
        self._noise = 0.0
        self._samples = 0
        self._is_reordered = False

    def add(self, given: Array, expected: Array) -> None:
        """Take in a batch, both [N, channels, ...]."""
        if given.shape != expected.shape or not self.same_shape:
            self.same_shape = False
            return
        self.low, self.high = min(self.low, float(expected.min())), max(self.high, float(expected.max()))
        axes = tuple(axis for axis in range(expected.ndim) if axis != 1)
        mine, theirs = given.astype(np.float64), expected.astype(np.float64)
        if not self._samples:
            self._is_reordered = _is_reordered(given, expected)
        self._reference = self._reference + (theirs**2).sum(axis=axes)
        self._given = self._given + (mine**2).sum(axis=axes)
        self._both = self._both + (mine * theirs).sum(axis=axes)
        self._noise += float(((mine - theirs) ** 2).sum())
        self._samples += expected.size // max(1, self._reference.size)

    def result(self, *, rewritten: bool) -> tuple[Match, float | None]:
        """Return how the channels match, and signal over noise in dB.

        None where nothing differs, where there is no signal or something that is no number, and for channels in another
        order.

        Args:
            rewritten: whether channels may have been scaled or moved at all; a wrong scale looks the same.
        """
        signal = float(self._reference.sum())
        plain = decibels(signal, self._noise)
        if plain is None or not rewritten or self._samples < _LEAST_SAMPLES:
            return "same", plain
        scaled = decibels(signal, self._residual())
        if scaled is None or scaled >= plain + _GAIN_DB:
            return "scaled", scaled
        if plain < _LOUD_DB and self._is_reordered:
            return "reordered", None
        return "same", plain

    def _residual(self) -> float:
        """Return the noise that is left with the best factor for each channel (least squares)."""
        explained = np.divide(self._both**2, self._given, out=np.zeros_like(self._both), where=self._given > 0)
        return float(np.maximum(self._reference - explained, 0.0).sum())


def _is_reordered(given: Array, expected: Array) -> bool:
    """Tell whether two tensors [N, channels, ...] that differ loudly have the same channels in another order.

    Factors of the channels do not matter.
    """
    level = decibels(float((expected**2).sum()), float(((given - expected) ** 2).sum()))
    if level is None or level >= _LOUD_DB or expected.ndim < 2 or expected.shape[1] < _LEAST_CHANNELS:
        return False
    mine, theirs = _by_channel(given), _by_channel(expected)
    alive = np.flatnonzero(theirs.any(axis=1))
    if mine.shape[1] < _LEAST_SAMPLES or len(alive) < _LEAST_CHANNELS:
        return False
    likeness = theirs[alive] @ mine.T
    partner = likeness.argmax(axis=1)
    found = partner[likeness.max(axis=1) >= _ALIKE]
    return len(np.unique(found)) >= _MOST * len(alive) and float((partner != alive).mean()) >= _MOVED


def _by_channel(array: Array) -> Array:
    """Return channels [channels, samples] without their means and of length 1; zero where a channel is constant."""
    rows = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
    step = -(-rows.shape[1] // _MOST_SAMPLES)
    rows = rows[:, :: step | 1].astype(np.float32)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
