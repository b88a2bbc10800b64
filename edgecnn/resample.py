"""Scaling uint8 images with numpy alone: antialiased as Pillow does it, or nearest, and only the part that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# Weights are whole multiples of 2^-22, as Pillow's are: sums of products are exact in float64 in whatever order they are
# taken, so that every machine and every BLAS gives the same pixels.
_ONE = 1 << 22
# Pixel values that are turned to float64 at a time: 2 MiB stay in a core's cache and bound the memory of large images.
_CHUNK = 1 << 18
_LONGEST_TILE = 64


@dataclass(frozen=True, slots=True)
class Cut:
    """What is wanted of one axis.

    Attributes:
        size: pixels that the whole axis is scaled to.
        first: the first of them that is wanted.
        count: how many are wanted.
    """

    size: int
    first: int
    count: int


class _Filter(NamedTuple):
    """A window over input pixels: its half width, and the weight at a distance from its centre."""

    support: float
    weigh: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(0.0, 1.0 - distance)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' cubic convolution (1981) with a = -0.5, the terms in Pillow's order (Resample.c, bicubic_filter)."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * -0.5
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


_FILTERS = {"bilinear": _Filter(1.0, _triangle), "bicubic": _Filter(2.0, _cubic)}


class _Tile(NamedTuple):
    """Neighbouring output pixels: the input pixels start..stop that make them, weights [outputs, inputs] times _ONE."""

    start: int
    stop: int
    weights: NDArray[np.float64]


def resample(image: Image, rows: Cut, columns: Cut, interpolation: str = "bilinear") -> Image:
    """Return uint8 [rows.count, columns.count, C]: that part of uint8 [H, W, C] scaled to [rows.size, columns.size, C].

    Args:
        image: the source.
        rows: of the result.
        columns: of the result.
        interpolation: "bilinear" or "bicubic" (filters that grow with the scale when shrinking), or "nearest".
    """
    height, width, _ = image.shape
    if interpolation == "nearest":
        return image[_nearest(height, rows)[:, None], _nearest(width, columns)]
    # Columns first, rounded in between, and only of the rows that are needed: as Pillow does it.
    window = _FILTERS[interpolation]
    top, bottom = _sources(height, rows, window)
    narrow = _scale(image[top:bottom].transpose(1, 0, 2), columns, width, 0, window).transpose(1, 0, 2)
    return np.ascontiguousarray(_scale(narrow, rows, height, top, window))


def _scale(image: Image, cut: Cut, length: int, offset: int, window: _Filter) -> Image:
    """Return uint8 [cut.count, W, C] of the pixels from `offset` on of a first axis of `length`, uint8 [.., W, C]."""
    if length == cut.size:
        return image[cut.first - offset : cut.first - offset + cut.count]
    row = image.shape[1] * image.shape[2]
    out = np.empty((cut.count, row), np.uint8)
    done = 0
    for start, stop, weights in _tiles(length, cut, _tile_length(length / cut.size, row, window), window):
        source = image[start - offset : stop - offset].astype(np.float64, order="C").reshape(stop - start, row)
        mixed = weights @ source
        mixed += _ONE / 2
        mixed /= _ONE
        out[done : done + len(mixed)] = np.clip(mixed, 0, 255, out=mixed)
        done += len(mixed)
    return out.reshape(cut.count, *image.shape[1:])


def _sources(length: int, cut: Cut, window: _Filter) -> tuple[int, int]:
    """Return start and stop of the pixels of an axis that the cut is made from."""
    if length == cut.size:
        return cut.first, cut.first + cut.count
    last = cut.first + cut.count - 1
    start = _tile(length, cut.size, cut.first, cut.first + 1, window).start
    return start, _tile(length, cut.size, last, last + 1, window).stop


def _tile_length(scale: float, row: int, window: _Filter) -> int:
    """Return how many output pixels to make at a time, so that their sources fit into a chunk."""
    sources = _CHUNK // row - 2 * window.support * max(scale, 1.0)
    return min(max(1, int(sources / scale)), _LONGEST_TILE)


@lru_cache(maxsize=32)
def _tiles(old: int, cut: Cut, length: int, window: _Filter) -> tuple[_Tile, ...]:
    stop = cut.first + cut.count
    starts = range(cut.first, stop, length)
    return tuple(_tile(old, cut.size, first, min(first + length, stop), window) for first in starts)


def _tile(old: int, new: int, first: int, stop: int, window: _Filter) -> _Tile:
    """Return the weights of output pixels first..stop, as Pillow's Resample.c makes them (precompute_coeffs)."""
    scale = old / new
    stretch = max(scale, 1.0)
    support = window.support * stretch
    centres = (np.arange(first, stop) + 0.5)[:, None] * scale
    low = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    high = np.minimum((centres + support + 0.5).astype(np.intp), old)
    pixels = np.arange(low[0, 0], high[-1, 0])
    weights = window.weigh(np.abs((pixels - centres + 0.5) * (1.0 / stretch)))
    weights *= (pixels >= low) & (pixels < high)
    shares = weights / weights.sum(axis=1, keepdims=True) * _ONE
    rounded = np.copysign(np.floor(np.abs(shares) + 0.5), shares)
    rounded.setflags(write=False)
    return _Tile(int(low[0, 0]), int(high[-1, 0]), rounded)


def _nearest(old: int, cut: Cut) -> NDArray[np.intp]:
    wanted = np.arange(cut.first, cut.first + cut.count)
    return np.minimum(((wanted + 0.5) * old / cut.size).astype(np.intp), old - 1)
