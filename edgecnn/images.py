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

MAX_PIXELS = 1 << 24
"""Larger images are refused before they are decoded, unless `max_pixels` allows them: a few kilobytes can become gigabytes.

Decoding takes 7 bytes for each pixel of a JPEG or PNG file in colour, Pillow's four and the three that are returned; what
cameras of small boards give (12 megapixels) fits.
"""

# Formats that Pillow may try. Others have parsers that few have looked at, and one (EPS) starts another program.
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# EXIF tag Orientation (CIPA DC-008); 1 is upright.
_ORIENTATION = 0x0112

# From here on, rows of the stored image are columns of the upright one.
_TURNED = 5

_GRAY_MODES = ("1", "L", "LA", "La")

# So many pixels are taken out of Pillow's memory at a time: as a whole there would be two more copies of the image.
_BAND_PIXELS = 1 << 18


class NoImage(BadInput):
    """What was given is no image file of a known format."""


class TooManyPixels(BadInput):
    """An image is larger than allowed."""


def read_image(path: str | Path, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Return uint8 [H, W, 3] (RGB) or [H, W, 1] (grayscale), 0..255, turned upright as the EXIF orientation says.

    PPM and PGM files (P6, P5) need no further package, everything else needs Pillow.

    Args:
        path: the file; its content says what it is, its suffix does not matter.
        max_pixels: what the header may announce at most; None is MAX_PIXELS.

    Raises:
        BadInput: the file is missing, cut short or of more than 8 bits; `NoImage`: it is not an image; `TooManyPixels`: it
            is larger than max_pixels.
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
        raise BadInput(f"{name} cannot be decoded: {first_line(error)}", "it is damaged or cut short") from None


def to_pixels(image: object, *, max_pixels: int | None = None) -> NDArray[Any]:
    """Return the pixels of a path (`read_image`) or of an image of Pillow; an array is returned as it is, unchecked.

    Args:
        image: any of these.
        max_pixels: as in `read_image`; arrays may have any size.

    Raises:
        BadInput: as `read_image` and `pillow_pixels`, or something else was given.
        MissingDependency: Pillow is needed and not installed.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, (str, PathLike)):
        return read_image(Path(image), max_pixels=max_pixels)
    if is_pillow_image(image):
        return pillow_pixels(image, max_pixels=max_pixels)
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
        raise NoImage(f"{name} is not an image of a known format", f"known: {', '.join(_FORMATS)}") from None
    except Image.DecompressionBombError:
        raise _too_many(name, min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels)), "more") from None
    except Exception as error:  # the decoders of damaged files raise whatever comes
        raise BadInput(f"{name} cannot be decoded: {first_line(error)}", "it is damaged or cut short") from None


@cache
def _quiet() -> Quiet:
    from edgecnn.quiet import Quiet  # noqa: PLC0415 (arrays do not need it)

    return Quiet("PIL")


def _pixels(image: Any, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return uint8 [H, W, C] of an image of Pillow, which may not have been decoded yet."""
    if image.width < 1 or image.height < 1:
        raise BadInput(name, expected="at least one pixel", got=f"{image.width} x {image.height}")
    if image.width * image.height > max_pixels:
        raise _too_many(name, max_pixels, f"{image.width} x {image.height}")
    if image.mode.startswith("I") or image.mode == "F":
        raise BadInput(
            name, "scale it to 0..255 of 8 bits first", expected="8 bits per channel", got=f"mode {image.mode}"
        )
    # Decoding first: only then has a PNG or WebP told all of its EXIF block.
    image.load()
    orientation = _orientation(image)
    height, width = (image.width, image.height) if orientation >= _TURNED else (image.height, image.width)
    wanted = "L" if image.mode in _GRAY_MODES else "RGB"
    pixels = np.empty((height, width, len(wanted)), np.uint8)  # L is one channel, RGB three
    _copy_into(_as_stored(pixels, orientation), image, wanted)
    pixels.flags.writeable = False
    return pixels


def _copy_into(stored: NDArray[np.uint8], image: Any, wanted: str) -> None:
    """Write the pixels of an image that is decoded, band by band.

    Args:
        stored: [H, W, C] in any order of memory.
        image: of Pillow.
        wanted: its mode, "L" or "RGB", for what has another.
    """
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        end = min(top + rows, image.height)
        band = image if rows >= image.height else image.crop((0, top, image.width, end))
        values = np.asarray(band if band.mode == wanted else band.convert(wanted), np.uint8)
        stored[top:end] = values[..., None] if values.ndim == 2 else values


def _orientation(image: Any) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged block raises whatever comes, and is no reason to refuse the pixels
        return 1
    return int(value) if value in range(2, 9) else 1


def _as_stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return upright pixels in the order in which a file of an orientation stores them; no copy.

    Where row 0 and column 0 of the stored image are to be seen: EXIF 2.32 (CIPA DC-008), tag Orientation.
    """
    if orientation in (3, 4, 7, 8):
        upright = upright[::-1]
    if orientation in (2, 3, 6, 7):
        upright = upright[:, ::-1]
    return upright.transpose(1, 0, 2) if orientation >= _TURNED else upright


def _too_many(name: str, max_pixels: int, got: str) -> TooManyPixels:
    return TooManyPixels(
        name,
        "scale it down first, or allow more pixels where there is memory for them",
        expected=f"at most {max_pixels} pixels",
        got=got,
    )


_LONGEST_HEADER = 1 << 16

# One image, comments anywhere between the numbers: https://netpbm.sourceforge.net/doc/ppm.html.
_NETPBM = rb"P([56])GAP(\d{1,9})GAP(\d{1,9})GAP(\d{1,5})\s".replace(b"GAP", rb"(?:\s|#[^\n]*\n)+")


def _decode_netpbm(data: bytes, name: str, max_pixels: int) -> NDArray[np.uint8]:
    """Return the pixels of a binary PPM or PGM file of 255 levels."""
    header = re.match(_NETPBM, data)  # compiled with the first such image
    if header is None:
        raise NoImage(f"{name} is not a PPM or PGM image")
    kind, width, height, levels = map(int, header.groups())
    if width * height > max_pixels:
        raise _too_many(name, max_pixels, f"{width} x {height}")
    if levels != 255 or not width * height:
        raise BadInput(name, expected="255 levels and a size", got=f"{levels} levels, {width} x {height}")
    channels = 3 if kind == 6 else 1
    size = width * height * channels
    if len(data) - header.end() < size:
        raise BadInput(f"{name} is cut short", expected=f"{size} bytes", got=str(len(data) - header.end()))
    return np.frombuffer(data, np.uint8, size, header.end()).reshape(height, width, channels)
