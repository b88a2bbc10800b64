from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.data.idx import read_idx
from edgecnn.errors import BadInput


def _idx(array: np.ndarray, kind: int = 8) -> bytes:
    header = b"\0\0" + bytes([kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@settings(deadline=None, max_examples=50)
@given(shape=st.lists(st.integers(0, 5), max_size=4), packed=st.booleans())
def test_what_was_written_is_read(shape: list[int], packed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.getbasetemp() / ("a-idx-ubyte.gz" if packed else "a-idx-ubyte")
    path.write_bytes(gzip.compress(_idx(array)) if packed else _idx(array))
    again = read_idx(path)
    assert again.dtype == np.uint8
    assert again.shape == array.shape
    assert np.array_equal(again, array)


GOOD = _idx(np.arange(24).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not an IDX file of unsigned bytes"),
        (b"\0\0\x08", "is not an IDX file of unsigned bytes"),
        (b"<html>", "is not an IDX file of unsigned bytes"),
        (_idx(np.zeros(3), kind=0x0D), "is not an IDX file of unsigned bytes"),
        (GOOD[:10], "is cut short"),
        (GOOD[:-1], "expected 24 bytes of data, got 23"),
        (GOOD + b"x", "expected 24 bytes of data, got 25"),
        (b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"x", "is not an IDX file: "),
        (b"\0\0\x08\x03" + struct.pack(">3I", 0, 0xFFFFFFFF, 0xFFFFFFFF), "is not an IDX file: "),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        read_idx(path)
    assert message in caught.value.message
    assert "a-idx3-ubyte" in caught.value.message


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(GOOD)[:-9], gzip.compress(GOOD)[:12] + b"\xff" * 20])
def test_damaged_gzip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a-idx3-ubyte.gz"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"a-idx3-ubyte\.gz (cannot be read: |is not an IDX file)"):
        read_idx(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_idx(tmp_path / "a")
    with pytest.raises(BadInput, match="cannot be read: "):
        read_idx(tmp_path)
