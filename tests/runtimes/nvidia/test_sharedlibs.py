"""Libraries are found in wheels first, and every missing one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgecnn.runtimes.nvidia.sharedlibs import load_libraries, wheel_folders

NEEDED = ("libcublasLt.so.13", "libcudart.so.13", "libcuda.so.1", "libdl.so.2", "libc.so.6", "ld-linux-x86-64.so.2")


class Loader:
    """The system's loader: what it has, and what it was asked for."""

    def __init__(self, *known: str) -> None:
        self.known = known
        self.asked: list[str] = []

    def __call__(self, name: str) -> Any:
        self.asked.append(name)
        if name not in self.known:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")


def test_all_that_is_missing_is_named_in_order_and_the_systems_own_is_passed_over() -> None:
    load = Loader("libcudart.so.13")
    missing = load_libraries(NEEDED, needed_by="libgpu.so", folders=(), load=load)
    assert [one.name for one in missing] == ["libcublasLt.so.13", "libcuda.so.1"]
    assert {one.needed_by for one in missing} == {"libgpu.so"}
    assert load.asked == list(NEEDED[:3])


def test_a_wheel_comes_before_the_system(tmp_path: Path) -> None:
    (tmp_path / "libcudart.so.13").touch()
    load = Loader(str(tmp_path / "libcudart.so.13"), "libcudart.so.13")
    assert load_libraries(["libcudart.so.13"], needed_by="x", folders=[tmp_path], load=load) == ()
    assert load.asked == [str(tmp_path / "libcudart.so.13")]


def test_what_a_library_itself_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "libcudnn.so.9").touch()

    def load(name: str) -> None:
        raise OSError("libz.so.1: cannot open shared object file: No such file or directory")

    (missing,) = load_libraries(["libcudnn.so.9"], needed_by="libgpu.so", folders=[tmp_path], load=load)
    assert missing.name == "libz.so.1"
    assert missing.needed_by == "libcudnn.so.9, which libgpu.so needs"


def test_the_real_loader_says_what_it_does_not_find() -> None:
    (missing,) = load_libraries(["libm.so.6", "libno_such_library.so.7"], needed_by="x")
    assert missing.name == "libno_such_library.so.7"
    assert "No such file" in missing.reason


def test_folders_of_wheels_are_found_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("nvidia/cu13/lib", "nvidia/cudnn/lib", "nvidia/cu13/include", "tensorrt_libs"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "tensorrt_libs/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {str(folder.relative_to(tmp_path)) for folder in wheel_folders() if tmp_path in folder.parents}
    assert found == {"nvidia/cu13/lib", "nvidia/cudnn/lib", "tensorrt_libs"}
