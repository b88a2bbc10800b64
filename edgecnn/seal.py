"""Whether a model file is, to the bit, what edgecnn wrote: a check sum at its end.

The seal is one more metadata entry of the ONNX file, `edgecnn.seal`, the last thing in it: the CRC-32 of all bytes in front.
ONNX reads fields in any order, so that the file stays a plain .onnx file, and reading a seal costs one pass over the file
and nothing else. It tells damaged and edited files from whole ones (a damaged file has the right sum by chance once in
4 billion). It does not tell who wrote the file: whoever wants to can compute the sum.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread

SEAL_KEY = "edgecnn.seal"
"""Key of the ONNX metadata entry."""

# ModelProto.metadata_props is field 14 of onnx.proto, its entries have key and value as fields 1 and 2; all are of wire
# type 2, data of a stated length. https://protobuf.dev/programming-guides/encoding
_DIGITS = 8
_ENTRY = b"\x0a" + bytes([len(SEAL_KEY)]) + SEAL_KEY.encode() + b"\x12" + bytes([_DIGITS])
_START = bytes([14 << 3 | 2, len(_ENTRY) + _DIGITS]) + _ENTRY

SEAL_BYTES = len(_START) + _DIGITS
"""By how much a seal makes a file longer."""

# Between blocks the thread waits for the interpreter, which an import holds for milliseconds at a time.
_BLOCK_BYTES = 1 << 20


def seal(content: bytes) -> bytes:
    """Return what has to follow the bytes of an ONNX model to seal it."""
    return _trailer(zlib.crc32(content))


def is_sealed(path: Path) -> bool:
    """Return whether a file ends with a seal that fits all of it; a file that cannot be read does not."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size - SEAL_BYTES
            if size < 0:
                return False
            file.seek(size)
            trailer = file.read(SEAL_BYTES)
            # Most files of another origin are told by this.
            if not trailer.startswith(_START):
                return False
            file.seek(0)
            return trailer == _trailer(_crc(file.fileno(), size))
    except OSError:
        return False


def has_seal(path: Path) -> bool:
    """Return whether a file ends with a seal, be it the right one or not; a file that cannot be read does not."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - SEAL_BYTES))
            return file.read(SEAL_BYTES).startswith(_START)
    except OSError:
        return False


def sealed_later(path: Path) -> Callable[[], bool]:
    """Begin `is_sealed` in a thread and return at once what waits for it and tells what it found.

    An engine takes some time to be imported, which the check then does not add to where there is a second processor.
    """
    found: list[bool] = []

    def check() -> None:
        found.append(is_sealed(path))

    thread = Thread(target=check, name="edgecnn-seal", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no further thread may be started here
        return lambda: is_sealed(path)

    def answer() -> bool:
        thread.join()
        return found == [True]

    return answer


def _trailer(checksum: int) -> bytes:
    return _START + f"{checksum:0{_DIGITS}x}".encode()


def _crc(descriptor: int, size: int) -> int:
    # One block of memory, used again: reading must not show in the peak of the process.
    block = memoryview(bytearray(min(size, _BLOCK_BYTES)))
    checksum, left = 0, size
    while left > 0:
        count = os.readv(descriptor, [block[: min(left, len(block))]])
        if count == 0:
            return -1
        checksum = zlib.crc32(block[:count], checksum)
        left -= count
    return checksum
