"""uint8 image -> model input, with numpy alone: colour, resize, crop or pad, normalise.

`frame` does the geometry and stays in uint8, `normalise` does the arithmetic; `prepare` does both for a batch. The
resize equals Pillow's antialiased bilinear to one level in 255 (held by a test), so that a file gives the same answer
on a board without Pillow as it gave in the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import BadInput
from edgecnn.specs import Preprocess

Image = NDArray[np.uint8]

# ITU-R BT.601 luma in 16 bit fixed point, as Pillow converts RGB to L.
_LUMA = (19595, 38470, 7471)
_CHUNK_PIXELS = 1 << 20


def prepare(images: Sequence[Image] | Image, spec: Preprocess) -> NDArray[np.float32] | Image:
    """Return the model's input for a batch of images.

    Args:
        images: uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, alpha is dropped) each, 0..255; sizes may
        differ.
        spec: the model's preprocessing.

    Returns:
        float32 [N, C, height, width], or uint8 [N, height, width, C] when the graph normalises.

    Raises:
        BadInput: an image of another dtype or shape.
    """
    frames = np.stack([frame(image, spec) for image in images])
    return frames if spec.in_graph else normalise(frames, spec)


def frame(image: Image, spec: Preprocess) -> Image:
    """Return the image at the model's size, uint8 [height, width, channels]."""
    check_image(image)
    image = _convert_colour(image, spec.channels)
    height, width = spec.size
    if spec.fit == "stretch":
        return resize(image, height, width, spec.interpolation)
    if spec.fit == "pad":
        return _pad_to(_scale_longer(image, spec), height, width)
    return _crop_centre(_scale_shorter(image, spec), height, width)


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


def resize(image: Image, height: int, width: int, interpolation: str = "bilinear") -> Image:
    """Return uint8 [height, width, C], scaled with antialiased bilinear or nearest sampling."""
    if image.shape[:2] == (height, width):
        return image
    if interpolation == "nearest":
        rows = _nearest_index(image.shape[0], height)
        columns = _nearest_index(image.shape[1], width)
        return image[rows[:, None], columns[None, :]]
    if image.shape[1] != width:
        image = _resample_rows(image, _triangle_weights(image.shape[1], width))
    if image.shape[0] != height:
        turned = image.transpose(1, 0, 2)
        image = _resample_rows(turned, _triangle_weights(image.shape[0], height)).transpose(1, 0, 2)
    return np.ascontiguousarray(image)


def _convert_colour(image: Image, channels: int) -> Image:
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] == 4:
        image = image[..., :3]
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    luma = image.astype(np.uint32) @ np.asarray(_LUMA, np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]


def _scale_shorter(image: Image, spec: Preprocess) -> Image:
    height, width = (round(side / spec.crop_fraction) for side in spec.size)
    ratio = max(height / image.shape[0], width / image.shape[1])
    new_height = max(spec.size[0], round(image.shape[0] * ratio))
    new_width = max(spec.size[1], round(image.shape[1] * ratio))
    return resize(image, new_height, new_width, spec.interpolation)


def _scale_longer(image: Image, spec: Preprocess) -> Image:
    height, width = (round(side * spec.crop_fraction) for side in spec.size)
    ratio = min(height / image.shape[0], width / image.shape[1])
    new_height = min(height, max(1, round(image.shape[0] * ratio)))
    new_width = min(width, max(1, round(image.shape[1] * ratio)))
    return resize(image, new_height, new_width, spec.interpolation)


def _crop_centre(image: Image, height: int, width: int) -> Image:
    top = round((image.shape[0] - height) / 2)
    left = round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


def _pad_to(image: Image, height: int, width: int) -> Image:
    canvas = np.zeros((height, width, image.shape[2]), np.uint8)
    top = (height - image.shape[0]) // 2
    left = (width - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _nearest_index(old: int, new: int) -> NDArray[np.intp]:
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)


@lru_cache(maxsize=16)
def _triangle_weights(old: int, new: int) -> NDArray[np.float32]:
    """Return the resampling matrix float32 [old, new]: a triangle filter as wide as the scale when shrinking."""
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centres + support + 0.5).astype(np.intp), old)
    pixel = np.arange(old)[:, None]
    weights = np.maximum(0.0, 1.0 - np.abs(pixel - centres + 0.5) / support)
    weights *= (pixel >= first) & (pixel < last)
    normalised: NDArray[np.float32] = (weights / weights.sum(axis=0)).astype(np.float32)
    normalised.setflags(write=False)
    return normalised


def _resample_rows(image: NDArray[np.uint8], weights: NDArray[np.float32]) -> Image:
    """Return uint8 [H, new width, C] of [H, width, C]; in bands of rows, to bound the float copy."""
    out = np.empty((image.shape[0], weights.shape[1], image.shape[2]), np.uint8)
    band = max(1, _CHUNK_PIXELS // image.shape[1])
    for top in range(0, image.shape[0], band):
        rows = image[top : top + band].astype(np.float32)
        mixed = np.einsum("hwc,wv->hvc", rows, weights, optimize=True)
        out[top : top + band] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return out
