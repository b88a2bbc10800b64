from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EFBIG, ENOSPC
from pathlib import Path

import pytest

from edgecnn.errors import BadInput, UnavailableError
from edgecnn.files import check_folder_takes, replacing
from edgecnn.toml import read_toml


@contextmanager
def _file_size_limit(size_bytes: int) -> Iterator[None]:
    """Let the system refuse to make any file larger, as a full disk does in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "model.onnx"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".onnx"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert _names(path.parent) == ["model.onnx"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError, BadInput("no")])
def test_whatever_is_raised_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(BaseException) as caught, replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert caught.type is error or caught.value is error
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["model.onnx"]


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with replacing(path) as one, replacing(path) as two:
        assert one != two
        one.write_text("outer")
        two.write_text("inner")
    assert path.read_text() == "outer"
    assert _names(tmp_path) == ["model.onnx"]


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "kept"):
        check_folder_takes(folder)
    assert _names(tmp_path) == ["kept"]
    assert _names(tmp_path / "kept") == []


@pytest.mark.parametrize("folder", [Path("/proc/zz/deep"), Path("/proc")])
def test_a_folder_that_takes_nothing_is_refused_by_the_option_that_names_it(folder: Path) -> None:
    with pytest.raises(UnavailableError, match=f"cannot write {folder}") as caught:
        check_folder_takes(folder, option="--svg")
    assert caught.value.hint == "free space or choose another place with --svg"


def test_a_file_stands_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnavailableError):
        check_folder_takes(tmp_path / "file" / "below")
    assert _names(tmp_path) == ["file"]


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(UnavailableError) as caught, _file_size_limit(1000), replacing(path) as temporary:
        temporary.write_bytes(b"x" * 5000)
    assert caught.value.message == f"cannot write {path}: {os.strerror(EFBIG)}"
    assert caught.value.hint == "free space or choose another place with --output"
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["model.onnx"]


def test_the_system_error_is_the_cause(tmp_path: Path) -> None:
    error = OSError(ENOSPC, os.strerror(ENOSPC))
    with (
        pytest.raises(UnavailableError, match="No space left on device") as caught,
        replacing(tmp_path / "a") as temporary,
    ):
        temporary.touch()
        raise error
    assert caught.value.__cause__ is error


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "model.onnx", Path("/proc/edgecnn/model.onnx"), Path("/proc/model.onnx")):
        with pytest.raises(UnavailableError, match=f"^cannot write {path}: "), replacing(path) as temporary:
            temporary.write_text("x")


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(UnavailableError, match="Is a directory"), replacing(tmp_path / "model.onnx") as temporary:
        temporary.write_text("x")
    assert _names(tmp_path) == ["model.onnx"]


def test_an_error_without_a_number_is_not_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a codec's own") as caught, replacing(tmp_path / "a"):
        raise OSError("a codec's own")
    assert not isinstance(caught.value, UnavailableError)


def test_toml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[recipe]\nepochs = 3\nname = "Größe"\n', encoding="utf-8")
    assert read_toml(path) == {"recipe": {"epochs": 3, "name": "Größe"}}


@pytest.mark.parametrize("data", [b"[recipe", b"a = 1\na = 2", b"name = '\xff'", b"\0"])
def test_what_is_not_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=f"^{path} is not TOML: "):
        read_toml(path)


def test_toml_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_toml(tmp_path / "a.toml")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_toml(tmp_path)
