"""Image files, their bytes and Pillow images -> uint8 arrays. Pillow is imported only here, and only when it is needed.

What an image is that has more than one answer:

- animated files give their first frame;
- CMYK, palettes, LAB and YCbCr become RGB as Pillow converts them, without colour profiles;
- transparency is dropped: a pixel has the colour that the file stores for it;
- gray of 16 or 32 bits and floats are refused, for what their black and white are is not in the file; 16 bits per channel
  of colour PNGs come as their upper 8 from Pillow.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import BadInput, MissingDependency, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgecnn.quiet import Quiet

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

MAX_PIXELS = 1 << 26
"""Larger images are refused before they are decoded: a few kilobytes can become gigabytes."""

# Formats that Pillow may try. Others have parsers that few have looked at, and one (EPS) starts another program.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# EXIF tag Orientation (CIPA DC-008); 1 is upright.
_ORIENTATION = 0x0112

_GRAY_MODES = ("1", "L", "LA", "La")


def read_image(path: str | Path, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3] (RGB) or [H, W, 1] (grayscale), 0..255, turned upright as the EXIF orientation says.

    PPM and PGM files (P6, P5) need no further package, everything else needs Pillow.

    Args:
        path: the file; its content says what it is, its suffix does not matter.
        max_pixels: what the header may announce at most; None is MAX_PIXELS.

    Raises:
        BadInput: the file is missing, not an image, cut short, larger than max_pixels or of more than 8 bits.
        MissingDependency: Pillow is needed and not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file, str(path), MAX_PIXELS if max_pixels is None else max_pixels)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", "give an image file") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder", "give an image file") from None
    except (OSError, ValueError) as error:  # a path with a NUL character is a ValueError
        raise BadInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def decode_image(content: bytes, *, name: str = "image", max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return what `read_image` returns, for the content of a file.

    Args:
        content: all of the file.
        name: what errors call it.
        max_pixels: as in `read_image`.

    Raises:
        BadInput: as `read_image`.
        MissingDependency: Pillow is needed and not installed.
    """
    return _read(BytesIO(content), name, MAX_PIXELS if max_pixels is None else max_pixels)


def is_pillow_image(value: object) -> bool:
    """Return whether this is an image of Pillow, which is not imported for it: without it there is none."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def pillow_pixels(image: Any, *, name: str = "image", max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return what `read_image` returns, for an image of Pillow; the image itself stays as it is.

    Raises:
        BadInput: it is larger than max_pixels, of more than 8 bits, closed, or its file is damaged.
    """
    try:
        with _quiet():
            return _pixels(image, name, MAX_PIXELS if max_pixels is None else max_pixels)
    except BadInput:
        raise
    except Exception as error:  # the decoders of damaged files raise whatever comes
        raise BadInput(f"{name} cannot be decoded: {first_line(error)}") from None


def to_pixels(image: object) -> NDArray[Any]:
    """Return the pixels of a path (`read_image`) or of an image of Pillow; an array is returned as it is, unchecked.

    Raises:
        BadInput: as `read_image` and `pillow_pixels`, or something else was given.
        MissingDependency: Pillow is needed and not installed.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, PathLike)):
        return read_image(Path(image))
    if is_pillow_image(image):
        return pillow_pixels(image)
    hint = "decode_image of edgecnn.images takes bytes" if isinstance(image, (bytes, bytearray, memoryview)) else ""
    raise BadInput("image", hint, expected="a uint8 array, a path or an image of Pillow", got=type(image).__name__)


def _read(file: IO[bytes], name: str, max_pixels: int) -> NDArray[np.uint8]:
    magic = file.read(2)
    if magic in (b"P5", b"P6"):
        # A file of any length, of which no more than the largest image is read.
        return _decode_netpbm(magic + file.read(_LONGEST_HEADER + 3 * max_pixels), name, max_pixels)
    file.seek(0)
    return _read_with_pillow(file, name, max_pixels)


def _read_with_pillow(file: IO[bytes], name: str, max_pixels: int) -> NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependency("pillow", "images", f"reading {Path(name).name}") from None
    try:
        # What Pillow warns of (a damaged EXIF block, a large image) is either harmless here or checked below.
        with _quiet(), Image.open(file, formats=_FORMATS) as image:
            return _pixels(image, name, max_pixels)
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"{name} is not an image of a known format", f"known: {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError:
        raise BadInput(name, expected=f"at most {max_pixels} pixels", got="more") from None
    except Exception as error:  # the decoders of damaged files raise whatever comes
        raise BadInput(f"{name} cannot be decoded: {first_line(error)}") from None


@cache
def _quiet() -> Quiet:
    from edgecnn.quiet import Quiet  # noqa: PLC0415 (arrays do not need it)

    return Quiet("PIL")


def _pixels(image: Any, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return uint8 [H, W, C] of an image of Pillow, which may not have been decoded yet."""
    if image.width < 1 or image.height < 1:
        raise BadInput(name, expected="at least one pixel", got=f"{image.width} x {image.height}")
    if image.width * image.height > max_pixels:
        raise BadInput(
            name,
            "scale it down first",
            expected=f"at most {max_pixels} pixels",
            got=f"{image.width} x {image.height}",
        )
    if image.mode.startswith("I") or image.mode == "F":
        raise BadInput(
            name, "scale it to 0..255 and give the array", expected="8 bits per channel", got=f"mode {image.mode}"
        )
    upright = _upright(image)
    wanted = "L" if upright.mode in _GRAY_MODES else "RGB"
    pixels = np.asarray(upright if upright.mode == wanted else upright.convert(wanted), np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    # Decoding first: only then has a PNG or WebP told all of its EXIF block.
    image.load()
    try:
        turned = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # a damaged block raises whatever comes, and is no reason to refuse the pixels
        return image
    return ImageOps.exif_transpose(image) if turned else image


_LONGEST_HEADER = 1 << 16

# One image, comments anywhere between the numbers: https://netpbm.sourceforge.net/doc/ppm.html.
_NETPBM = rb"P([56])GAP(\d{1,9})GAP(\d{1,9})GAP(\d{1,5})\s".replace(b"GAP", rb"(?:\s|#[^\n]*\n)+")


def _decode_netpbm(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels of a binary PPM or PGM file of 255 levels."""
    header = re.match(_NETPBM, data)  # compiled with the first such image
    if header is None:
        raise BadInput(f"{name} is not a PPM or PGM image")
    kind, width, height, levels = map(int, header.groups())
    if levels != 255 or not 0 < width * height <= max_pixels:
        raise BadInput(name, expected="255 levels and a size", got=f"{levels} levels, {width} x {height}")
    channels = 3 if kind == 6 else 1
    size = width * height * channels
    if len(data) - header.end() < size:
        raise BadInput(f"{name} is cut short", expected=f"{size} bytes", got=str(len(data) - header.end()))
    return np.frombuffer(data, np.uint8, size, header.end()).reshape(height, width, channels)
