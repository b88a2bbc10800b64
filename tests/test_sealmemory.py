"""A seal that fitted is not computed again while the file stays; any doubt, and it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import edgecnn
from edgecnn import OpenOptions
from edgecnn.errors import BadInput
from edgecnn.seal import SEAL_BYTES
from edgecnn.sealmemory import SealMemory
from edgecnn.testing.models import TINY

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were written a moment ago count as unchanged for long, as those of an app are."""
    monkeypatch.setattr("edgecnn.runtimes.tickets._SETTLED_NS", 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(TINY, tmp_path / "model.onnx"))


def _options(tmp_path: Path) -> OpenOptions:
    return OpenOptions(threads=1, cache=True, cache_folder=tmp_path / "kept")


def _load(model: Path, tmp_path: Path, **how: bool) -> None:
    edgecnn.load(model, options=_options(tmp_path), **how).close()


def _change(model: Path) -> None:
    """Change one weight behind the seal's back, and give the file back its size and mtime."""
    status = model.stat()
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_is_read_for_its_seal_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not SealMemory(model, tmp_path / "kept").fits()
    _load(model, tmp_path)
    assert SealMemory(model, tmp_path / "kept").fits()
    monkeypatch.setattr("edgecnn.seal._crc", lambda *_: pytest.fail("the file was read"))
    _load(model, tmp_path)


def test_a_changed_file_is_found_out(model: Path, tmp_path: Path) -> None:
    _load(model, tmp_path)
    _change(model)
    assert not SealMemory(model, tmp_path / "kept").fits()
    with pytest.raises(BadInput, match="has changed since edgecnn wrote it"):
        _load(model, tmp_path)


@pytest.mark.parametrize("how", [{"trusted": True}, {"trusted": False}])
def test_what_was_not_checked_is_not_remembered(how: dict[str, bool], model: Path, tmp_path: Path) -> None:
    _change(model)
    if how["trusted"]:
        _load(model, tmp_path, **how)
    assert not SealMemory(model, tmp_path / "kept").fits()
    with pytest.raises(BadInput, match="has changed since edgecnn wrote it"):
        _load(model, tmp_path)


def test_a_file_without_a_seal_is_not_remembered(model: Path, tmp_path: Path) -> None:
    model.write_bytes(model.read_bytes()[:-SEAL_BYTES])
    _load(model, tmp_path, trusted=True)
    assert not SealMemory(model, tmp_path / "kept").fits()


def test_what_changes_while_it_is_opened_is_not_remembered(model: Path, tmp_path: Path) -> None:
    _load(model, tmp_path)
    memory = SealMemory(model, tmp_path / "kept")
    for ticket in (tmp_path / "kept").glob("*.ticket"):
        ticket.unlink()
    _change(model)
    memory.keep()
    assert not list((tmp_path / "kept").glob("*.ticket"))


def test_without_a_cache_nothing_is_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    edgecnn.load(model).close()
    assert not (tmp_path / "home").exists()
