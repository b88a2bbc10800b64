"""What the doctor says of the libraries that a GPU provider needs; any shared library stands in for the provider's."""

import shutil
import sys
from pathlib import Path

import pytest

from edgecnn.doctor import gpulibraries
from edgecnn.runtimes.nvidia.elf import needed_libraries


def _some_library() -> Path:
    import numpy

    return next(Path(numpy.__file__).parent.rglob("_multiarray_umath*.so"))


@pytest.mark.skipif(sys.platform != "linux", reason="ELF files are Linux's")
@pytest.mark.parametrize("here", [True, False])
def test_what_is_needed_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    shutil.copy(_some_library(), tmp_path / gpulibraries.PROVIDERS["cuda"])
    monkeypatch.setattr(gpulibraries, "_BRANDS", ("lib",))
    needed = [name for name in needed_libraries(_some_library()) if name.startswith("lib")]
    (found,) = gpulibraries.gpu_libraries(tmp_path, known=needed if here else needed[1:])
    assert found.health == ("ok" if here else "unavailable")
    assert found.name == "libraries of cuda"
    assert all(name in found.message for name in needed)
    assert found.message.endswith("all are here" if here else f"missing: {needed[0]}")


def test_a_package_without_gpu_providers_says_nothing(tmp_path: Path) -> None:
    assert not list(gpulibraries.gpu_libraries(tmp_path))
