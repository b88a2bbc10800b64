"""Image files -> uint8 arrays. Pillow is imported only here, and only when a file is read."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import BadInput, MissingDependency

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

MAX_PIXELS = 1 << 27
"""Larger images are refused: a few kilobytes can decode to gigabytes."""


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3] (RGB) or [H, W, 1] (grayscale), 0..255, turned upright as the EXIF orientation says.

    PPM and PGM files (P6, P5) need no further package, everything else needs Pillow.

    Raises:
        BadInput: the file is missing, not an image, cut short or larger than MAX_PIXELS.
        MissingDependency: Pillow is needed and not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            magic = file.read(2)
            if magic in (b"P5", b"P6"):
                return _decode_netpbm(magic + file.read(), path)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", "give an image file") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder", "give an image file") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    return _read_with_pillow(path)


def _read_with_pillow(path: Path) -> NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependency("pillow", "images", f"reading {path.name}") from None
    try:
        # What Pillow warns of (a damaged EXIF block, a large image) is either harmless here or checked below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                pixels = _pixels(image, path)
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"{path} is not an image that Pillow knows") from None
    except Image.DecompressionBombError:
        raise BadInput(str(path), expected=f"at most {MAX_PIXELS} pixels", got="more") from None
    except Exception as error:  # the decoders of damaged files raise whatever comes
        raise BadInput(f"{path} cannot be decoded: {error}") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels(image: Any, path: Path) -> NDArray[np.uint8]:
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise BadInput(str(path), expected=f"at most {MAX_PIXELS} pixels", got=f"{image.width} x {image.height}")
    if image.mode.startswith("I") or image.mode == "F":
        raise BadInput(str(path), expected="8 bits per channel", got=f"mode {image.mode}")
    ImageOps.exif_transpose(image, in_place=True)
    wanted = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return np.asarray(image if image.mode == wanted else image.convert(wanted), np.uint8)


# One image, comments anywhere between the numbers: https://netpbm.sourceforge.net/doc/ppm.html.
_NETPBM = re.compile(rb"P([56])GAP(\d{1,9})GAP(\d{1,9})GAP(\d{1,5})\s".replace(b"GAP", rb"(?:\s|#[^\n]*\n)+"))


def _decode_netpbm(data: bytes, path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a binary PPM or PGM file of 255 levels."""
    header = _NETPBM.match(data)
    if header is None:
        raise BadInput(f"{path} is not a PPM or PGM image")
    kind, width, height, levels = map(int, header.groups())
    if levels != 255 or not 0 < width * height <= MAX_PIXELS:
        raise BadInput(str(path), expected="255 levels and a size", got=f"{levels} levels, {width} x {height}")
    channels = 3 if kind == 6 else 1
    size = width * height * channels
    if len(data) - header.end() < size:
        raise BadInput(f"{path} is cut short", expected=f"{size} bytes", got=str(len(data) - header.end()))
    return np.frombuffer(data, np.uint8, size, header.end()).reshape(height, width, channels)
