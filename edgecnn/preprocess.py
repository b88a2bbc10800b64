"""uint8 image -> model input, with numpy alone: colour, resize, crop or pad, normalise.

`frame` does the geometry and stays in uint8, `normalise` does the arithmetic; `prepare` does both for a batch, or what of it
is left to the caller where the graph does some itself. The resize equals Pillow's antialiased one bit for bit (held by a
test), so that a file gives the same answer on a board without Pillow as it gave in the evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.specs import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What numpy.typing.NDArray[np.uint8] stands for, without that module.
Image = np.ndarray[tuple[Any, ...], np.dtype[np.uint8]]

# ITU-R BT.601 luma in 16 bit fixed point, as Pillow converts RGB to L.
_LUMA = (19595, 38470, 7471)
_WANTED = "uint8 [height, width, 1, 3 or 4]"

# Pixels, or values of the input, that are converted at a time, which bounds the memory of large photographs.
_BAND_PIXELS = 1 << 18
_BAND_VALUES = 1 << 17

# The room of a batch is kept for the next one up to this size.
_KEPT_BYTES = 1 << 24

_LINE_BYTES = 64

_UINT8 = np.dtype(np.uint8)

# Of images that are given to a graph at once to be scaled there.
_RUN_BYTES = 1 << 24


def prepare(images: Sequence[Image] | Image, spec: Preprocess) -> NDArray[np.float32] | Image:
    """Return the model's input for a batch of images.

    Args:
        images: uint8 [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, alpha is dropped) each, 0..255; sizes may
            differ.
        spec: the model's preprocessing.

    Returns:
        float32 [N, C, height, width], or uint8 [N, height, width, C] when the graph normalises; in the images' own height and
        width when it scales them as well.

    Raises:
        BadInput: no image, an image without its batch, one of another dtype or shape, or images of different sizes for a graph
            that scales them.
    """
    prepared = Canvas(spec).prepare(images)
    return prepared.copy() if spec.in_graph and len(images) == 1 else prepared


class Canvas:
    """Memory in which images become a model's input, used again for every batch; for one thread at a time.

    Args:
        spec: the model's preprocessing.
    """

    def __init__(self, spec: Preprocess) -> None:
        self.spec = spec
        self._normaliser = _Normaliser(spec)
        self._pixels = np.dtype(np.uint8 if spec.in_graph else np.float32)
        height, width = spec.size
        self._shape = (height, width, spec.channels) if spec.in_graph else (spec.channels, height, width)
        self._kept = np.empty((0, *self._shape), self._pixels)
        self._exact = (height, width, spec.channels)

    def of_exact(self, image: NDArray[Any]) -> NDArray[np.float32] | Image | None:
        """Return what `prepare` returns for one image that needs no fitting to the model's size; None for anything else.

        Args:
            image: any array.
        """
        if image.dtype is not _UINT8 or image.shape != self._exact:
            return None
        return self._of_frame(image)

    def prepare(self, images: Sequence[Image] | Image) -> NDArray[np.float32] | Image:
        """Return what `edgecnn.preprocess.prepare` returns, in memory that the next call writes to.

        For a graph that normalises it may be the memory of the image itself.

        Raises:
            BadInput: as `edgecnn.preprocess.prepare`.
        """
        single = isinstance(images, np.ndarray) and images.ndim != 4
        if single or len(images) == 0:
            got = "one image" if single else "none"
            raise BadInput("images", expected="a list of images or uint8 [N, height, width, C]", got=got)
        if self.spec.resize_in_graph:
            return _stacked([raw_pixels(image, self.spec) for image in images])
        if len(images) == 1:
            return self._of_frame(frame(images[0], self.spec))
        out = self._buffer(len(images))
        for index, image in enumerate(images):
            one = frame(image, self.spec)
            if self.spec.in_graph:
                out[index] = one
            else:
                self._normaliser.fill(one[None], out[index : index + 1])
        return out

    def _of_frame(self, one: Image) -> NDArray[np.float32] | Image:
        """Return the input of one frame; what already is that of a graph that normalises is not copied."""
        if self.spec.in_graph:
            return one[None]
        out = self._buffer(1)
        channels = one.shape[2]
        self._normaliser.spread(one.reshape(-1, channels).T, out.reshape(channels, -1))
        return out

    def _buffer(self, count: int) -> NDArray[Any]:
        """Return room for a batch; that of large batches is not kept."""
        if len(self._kept) >= count:
            return self._kept[:count]
        shape = (count, *self._shape)
        buffer = aligned_empty(shape, self._pixels)
        if buffer.nbytes <= _KEPT_BYTES:
            self._kept = buffer
        return buffer


def frame(image: Image, spec: Preprocess) -> Image:
    """Return the image at the model's size, uint8 [height, width, channels].

    An image of exactly the model's size is taken as it is: whoever made it has scaled and cut it. Of the others, "crop"
    is torchvision's Resize and CenterCrop, so that published accuracies hold: the shorter side becomes size /
    crop_fraction, the longer one follows and is rounded down.

    Raises:
        BadInput: an image of another dtype or shape.
    """
    if type(image) is np.ndarray and image.dtype is _UINT8 and image.shape == (*spec.size, spec.channels):
        return image
    check_image(image)
    image = _convert_colour(image, spec.channels)
    if image.shape[:2] == spec.size:
        return image
    from edgecnn.fitting import fit_to_size  # noqa: PLC0415 (an image of the model's size does not need it)

    return fit_to_size(image, spec)


def raw_pixels(image: Image, spec: Preprocess) -> Image:
    """Return the image in its own size, uint8 [H, W, channels]: what a graph takes that scales images itself.

    Raises:
        BadInput: an image of another dtype or shape.
    """
    check_image(image)
    return _convert_colour(image, spec.channels)


def runs_of_one_size(images: Sequence[Image] | Image) -> Iterator[list[Image]]:
    """Yield images in order in lists of one height and width each, which can be one batch of a graph that scales them.

    A list is of 16 MiB at most, or one image.

    Raises:
        BadInput: an image of another dtype or shape.
    """
    run: list[Image] = []
    held = 0
    for image in images:
        check_image(image)
        held += image.nbytes
        if run and (image.shape[:2] != run[0].shape[:2] or held > _RUN_BYTES):
            yield run
            run, held = [], image.nbytes
        run.append(image)
    if run:
        yield run


def normalise(frames: Image, spec: Preprocess) -> NDArray[np.float32]:
    """Return (pixel / 255 - mean) / std of uint8 [N, H, W, C] as contiguous float32 [N, C, H, W]."""
    count, height, width, channels = frames.shape
    out: NDArray[np.float32] = aligned_empty((count, channels, height, width), np.dtype(np.float32))
    return _Normaliser(spec).fill(frames, out)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an uninitialised array that starts at a cache line; the engine and numpy are some percent faster with it."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    return raw[start : start + size].view(dtype).reshape(shape)


def _stacked(images: list[Image]) -> Image:
    """Return images of one size as one array; a single one is not copied."""
    if len(images) == 1:
        return images[0][None]
    sizes = dict.fromkeys(image.shape[:2] for image in images)
    if len(sizes) > 1:
        one, other = (f"{height} x {width}" for height, width in list(sizes)[:2])
        raise BadInput(
            "images of one batch",
            "the graph scales a batch as one: run those of each size apart, as classify does",
            expected=f"one size, {one} as the first",
            got=other,
        )
    return np.stack(images)


class _Normaliser:
    """pixel * scale - shift, from uint8 channels last to float32 channels first."""

    def __init__(self, spec: Preprocess) -> None:
        with np.errstate(all="ignore"):
            mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
            self._scale = (1.0 / (255.0 * std)).astype(np.float32)[:, None]
            self._shift = (mean / std)[:, None]
            extremes = (255 * self._scale, 255 * self._scale - self._shift, self._shift)
        if not all(np.isfinite(values).all() for values in extremes):
            raise BadInput(
                "preprocess", expected="mean and std that float32 can work with", got=f"{spec.mean}, {spec.std}"
            )

    def fill(self, frames: Image, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write uint8 [N, H, W, C] into contiguous float32 [N, C, H, W]; return it."""
        count, channels = out.shape[:2]
        pixels, planes = frames.reshape(count, -1, channels), out.reshape(count, channels, -1)
        # Half a megabyte at a time stays in a core's second-level cache.
        step = max(1, _BAND_VALUES // planes[0].size)
        for first in range(0, count, step):
            self.spread(pixels[first : first + step].transpose(0, 2, 1), planes[first : first + step])
        return out

    def spread(self, pixels: Image, planes: NDArray[np.float32]) -> None:
        """Write a uint8 view [..., C, P] of pixels into float32 planes [..., C, P]."""
        # Three plain passes: one multiplication of mixed types, which looks like less, takes longer.
        np.copyto(planes, pixels)
        np.multiply(planes, self._scale, out=planes)
        np.subtract(planes, self._shift, out=planes)


def check_image(image: Image) -> None:
    """Raise BadInput unless this is a uint8 image with height, width and 1, 3 or 4 channels (or none)."""
    if not isinstance(image, np.ndarray):
        raise BadInput("image", expected=_WANTED, got=type(image).__name__)
    good_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if image.dtype != np.uint8 or not good_shape or image.size == 0:
        raise BadInput("image", _remedy(image, good_shape), expected=_WANTED, got=f"{image.dtype} {list(image.shape)}")


def _remedy(image: NDArray[Any], good_shape: bool) -> str:
    """Return what makes an image of an array that is none, where that can be told."""
    if image.size == 0:
        return ""
    if not good_shape and image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] > 4:
        return "channels come last: image.transpose(1, 2, 0)"
    if not good_shape and image.ndim == 4:
        return "a batch is a list of images, or one array alone"
    if good_shape and image.dtype.kind == "f":
        return "if 0..1: (255 * image).round().astype('uint8')"
    if good_shape and image.dtype == np.uint16:
        return "if all 16 bits are used: (image >> 8).astype('uint8')"
    return "if 0..255: image.astype('uint8')" if good_shape and image.dtype.kind in "iu" else ""


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
