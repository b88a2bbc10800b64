"""Reader of the IDX format of the MNIST family (Y. LeCun's page; magic number, dimensions, big-endian, then the bytes)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import BadInput

_UNSIGNED_BYTE = 0x08


def is_idx_folder(folder: Path) -> bool:
    """Tell whether a folder holds images as IDX files."""
    return any(folder.glob("*-images-idx3-ubyte*"))


def find_part(folder: Path, stem: str) -> tuple[Path, Path] | None:
    """Return the files with the images and the labels of a part, None where they are not both there.

    Args:
        folder: where they lie, packed with gzip or plain.
        stem: of the part, "t10k" for example.
    """
    images, labels = (_packed_or_plain(folder / f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    return (images, labels) if images and labels else None


def read_part(images_path: Path, labels_path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return grayscale images uint8 [N, H, W, 1] and their labels int64 [N].

    Raises:
        BadInput: a file is damaged, or the two do not fit each other.
    """
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise BadInput(
            str(images_path), expected="[N, H, W] images and N labels", got=f"{images.shape}, {labels.shape}"
        )
    return images[..., np.newaxis], labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of a .gz or plain IDX file of unsigned bytes, uint8 of the shape that the file states.

    Raises:
        BadInput: the file is missing, cut short or not IDX.
    """
    data = unpacked(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise BadInput(f"{path} is not an IDX file of unsigned bytes")
    dimensions = data[3]
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise BadInput(f"{path} is cut short")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != math.prod(shape):
        raise BadInput(path.name, expected=f"{math.prod(shape)} bytes of data", got=str(len(data) - header))
    try:
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    except ValueError as error:  # more dimensions, or longer ones, than numpy has
        raise BadInput(f"{path} is not an IDX file: {error}") from None


def unpacked(path: Path) -> bytes:
    """Return the bytes of a .gz or plain file.

    Raises:
        BadInput: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None


def _packed_or_plain(path: Path) -> Path | None:
    return next((one for one in (path.with_name(f"{path.name}.gz"), path) if one.is_file()), None)
