"""What is remembered about files: only while they stay as they were, and only from this user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgecnn.runtimes.tickets import Ticket, identity, is_settled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    return folder


def test_what_is_written_is_read(folder: Path) -> None:
    ticket = Ticket(folder, ["a", {"b": 1}])
    assert ticket.read() is None
    ticket.write({"value": [1, 2]})
    found = Ticket(folder, ["a", {"b": 1}]).read()
    assert found is not None
    assert found["value"] == [1, 2]
    assert Ticket(folder, ["a", {"b": 2}]).read() is None


def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    Ticket(tmp_path / "none", "a").write({})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_what_others_may_write_to_is_nothing(folder: Path, mode: int) -> None:
    ticket = Ticket(folder, "a")
    ticket.write({})
    assert ticket.read() is not None
    folder.chmod(mode)
    assert ticket.read() is None
    folder.chmod(0o700)
    (file,) = folder.glob("*.ticket")
    file.chmod(0o600 | mode & 0o022)
    assert ticket.read() is None


def test_a_file_of_the_same_size_and_mtime_is_another(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    before, status = identity(file), file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert identity(file) != before
    assert identity(tmp_path / "none") is None


def test_a_file_of_this_moment_is_not_settled(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    found = identity(file)
    assert found is not None
    assert not is_settled(found)
    old = found[-1] - 3_000_000_000
    assert is_settled([*found[:-2], old, old])
    assert not is_settled([*found[:-2], old, found[-1]])
