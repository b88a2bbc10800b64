"""uint8 image -> model input, with numpy alone: colour, resize, crop or pad, normalise.

`frame` does the geometry and stays in uint8, `normalise` does the arithmetic; `prepare` does both for a batch. The
resize equals Pillow's antialiased one bit for bit (held by a test), so that a file gives the same answer on a board
without Pillow as it gave in the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import BadInput
from edgecnn.resample import Cut, resample
from edgecnn.specs import Preprocess

Image = NDArray[np.uint8]

# ITU-R BT.601 luma in 16 bit fixed point, as Pillow converts RGB to L.
_LUMA = (19595, 38470, 7471)
# Pixels that are converted at a time, which bounds the memory of large photographs.
_BAND_PIXELS = 1 << 18


def prepare(images: Sequence[Image] | Image, spec: Preprocess) -> NDArray[np.float32] | Image:
    """Return the model's input for a batch of images.

    Args:
        images: uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, alpha is dropped) each, 0..255; sizes may
            differ.
        spec: the model's preprocessing.

    Returns:
        float32 [N, C, height, width], or uint8 [N, height, width, C] when the graph normalises.

    Raises:
        BadInput: no image, an image without its batch, or one of another dtype or shape.
    """
    single = isinstance(images, np.ndarray) and images.ndim != 4
    if single or len(images) == 0:
        got = "one image" if single else "none"
        raise BadInput("images", expected="a list of images or uint8 [N, height, width, C]", got=got)
    frames = np.stack([frame(image, spec) for image in images])
    return frames if spec.in_graph else normalise(frames, spec)


def frame(image: Image, spec: Preprocess) -> Image:
    """Return the image at the model's size, uint8 [height, width, channels].

    "crop" is torchvision's Resize and CenterCrop, so that published accuracies hold: the shorter side becomes size /
    crop_fraction, the longer one follows and is rounded down.

    Raises:
        BadInput: an image of another dtype or shape.
    """
    check_image(image)
    image = _convert_colour(image, spec.channels)
    if spec.fit == "crop":
        return resample(image, *_crop(image.shape[0], image.shape[1], spec), spec.interpolation)
    height, width = _longer_side(image.shape[0], image.shape[1], spec) if spec.fit == "pad" else spec.size
    scaled = resample(image, Cut(height, 0, height), Cut(width, 0, width), spec.interpolation)
    return _pad_to(scaled, *spec.size)


def normalise(frames: Image, spec: Preprocess) -> NDArray[np.float32]:
    """Return (pixel / 255 - mean) / std of uint8 [N, H, W, C] as contiguous float32 [N, C, H, W]."""
    mean = np.asarray(spec.mean, np.float32)
    std = np.asarray(spec.std, np.float32)
    scale = (1.0 / (255.0 * std)).astype(np.float32)
    out: NDArray[np.float32] = np.multiply(
        frames.transpose(0, 3, 1, 2), scale[:, None, None], dtype=np.float32, order="C"
    )
    out -= (mean / std)[:, None, None]
    return out


def check_image(image: Image) -> None:
    """Raise BadInput unless this is a uint8 image with height, width and 1, 3 or 4 channels (or none)."""
    wanted = "uint8 [height, width, 1, 3 or 4]"
    if not isinstance(image, np.ndarray):
        raise BadInput("image", expected=wanted, got=type(image).__name__)
    good_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if image.dtype != np.uint8 or not good_shape or image.size == 0:
        raise BadInput("image", expected=wanted, got=f"{image.dtype} {list(image.shape)}")


def _convert_colour(image: Image, channels: int) -> Image:
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] == 4:
        image = image[..., :3]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    return _luma(image)


def _luma(image: Image) -> Image:
    out = np.empty((*image.shape[:2], 1), np.uint8)
    band = max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, len(image), band):
        rows = image[top : top + band]
        luma = np.full(rows.shape[:2], 0x8000, np.uint32)
        for channel, weight in enumerate(_LUMA):
            luma += np.multiply(rows[..., channel], weight, dtype=np.uint32)
        luma >>= 16
        out[top : top + band, :, 0] = luma
    return out


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
