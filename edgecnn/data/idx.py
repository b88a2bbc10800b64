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


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of a .gz or plain IDX file of unsigned bytes, uint8 of the shape that the file states.

    Raises:
        BadInput: the file is missing, cut short or not IDX.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None
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
