"""An image of any size -> the model's size: scaled, then cut or padded; uint8 throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgecnn.resample import Cut, resample
from edgecnn.specs import Preprocess

if TYPE_CHECKING:
    from edgecnn.preprocess import Image


def fit_to_size(image: Image, spec: Preprocess) -> Image:
    """Return uint8 [height, width, C] of the model's size for uint8 [H, W, C] of another, as `spec.fit` says."""
    if spec.fit == "crop":
        return resample(image, *_crop(image.shape[0], image.shape[1], spec), spec.interpolation)
    height, width = _longer_side(image.shape[0], image.shape[1], spec) if spec.fit == "pad" else spec.size
    scaled = resample(image, Cut(height, 0, height), Cut(width, 0, width), spec.interpolation)
    return _pad_to(scaled, *spec.size)


def _crop(height: int, width: int, spec: Preprocess) -> tuple[Cut, Cut]:
    """Return the rows and columns of a scaled image whose centre is the model's input."""
    rows, columns = (round(side / spec.crop_fraction) for side in spec.size)
    if rows * width >= columns * height:
        columns = rows * width // height
    else:
        rows = columns * height // width
    top = round((rows - spec.size[0]) / 2)
    left = round((columns - spec.size[1]) / 2)
    return Cut(rows, top, spec.size[0]), Cut(columns, left, spec.size[1])


def _longer_side(height: int, width: int, spec: Preprocess) -> tuple[int, int]:
    """Return the height and width of an image that just fits into size * crop_fraction."""
    rows, columns = (max(1, round(side * spec.crop_fraction)) for side in spec.size)
    if rows * width <= columns * height:
        return rows, max(1, round(rows * width / height))
    return max(1, round(columns * height / width)), columns


def _pad_to(image: Image, height: int, width: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    canvas = np.zeros((height, width, image.shape[2]), np.uint8)
    top = (height - image.shape[0]) // 2
    left = (width - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
