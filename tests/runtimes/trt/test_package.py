from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import MissingDependency, RuntimeUnavailable
from edgecnn.installed import version_pair
from edgecnn.runtimes.trt import package
from edgecnn.runtimes.trt.backend import TrtRuntime
from edgecnn.runtimes.trt.package import available_trt, load_trt, missing_trt
from edgecnn.testing.fakecuda import FakeCudart


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`install(code)`: a package tensorrt whose import runs this code."""

    def install(code: str) -> None:
        (tmp_path / "tensorrt").mkdir()
        (tmp_path / "tensorrt" / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)

    yield install
    sys.modules.pop("tensorrt", None)


def without_tensorrt() -> None:
    if package.importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")


def no_driver() -> Any:
    cuda = FakeCudart(devices=(), driver_version=0)
    cuda.fail("cudaGetDeviceCount", 35)
    return cuda


def test_the_gpu_is_asked_for_before_the_package(install: Any) -> None:
    install("raise SystemExit('TensorRT was imported before CUDA was asked')")
    with pytest.raises(RuntimeUnavailable) as caught:
        available_trt(cudart=no_driver())
    assert caught.value.exit_code == 4
    assert "edgecnn[trt]" not in caught.value.hint
    assert "tensorrt" not in sys.modules


def test_without_gpu_and_package_the_driver_comes_first() -> None:
    without_tensorrt()
    with pytest.raises(RuntimeUnavailable) as caught:
        available_trt(cudart=no_driver())
    assert caught.value.hint.endswith("then: pip install 'edgecnn[trt]'")


def test_with_a_gpu_the_missing_package_is_named() -> None:
    without_tensorrt()
    with pytest.raises(MissingDependency, match="backend trt needs the package tensorrt") as caught:
        TrtRuntime(cudart=FakeCudart()).check()
    assert caught.value.hint == "pip install 'edgecnn[trt]'"


def test_without_driver_and_cuda_bindings_the_driver_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **options: Any) -> Any:
        raise MissingDependency("cuda-bindings", "trt", "backend trt")

    monkeypatch.setattr(package, "probe", missing)
    monkeypatch.setattr(package, "_driver_loads", lambda: False)
    with pytest.raises(RuntimeUnavailable, match="no NVIDIA driver") as caught:
        available_trt()
    assert "pip install 'edgecnn[trt]'" in caught.value.hint
    monkeypatch.setattr(package, "_driver_loads", lambda: True)
    with pytest.raises(MissingDependency, match="cuda-bindings"):
        available_trt()


def test_a_missing_library_is_named(install: Any) -> None:
    install("raise ImportError('libnvonnxparser.so.11: cannot open shared object file: No such file or directory')")
    with pytest.raises(RuntimeUnavailable, match=r"its library libnvonnxparser\.so\.11 is not found") as caught:
        available_trt(cudart=FakeCudart())
    assert "LD_LIBRARY_PATH" in caught.value.hint


@pytest.mark.parametrize("code", ["raise RuntimeError('no luck\\nmore')", "import no_such_module_of_tensorrt", "x = 1"])
def test_what_does_not_import_is_said(install: Any, code: str) -> None:
    install(code)
    with pytest.raises(RuntimeUnavailable, match="is installed but cannot be imported") as caught:
        load_trt()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "works"), [("8.6.1", False), ("10.2.0", False), ("10.3.0", True), ("11.4.0.106", True)]
)
def test_old_versions_are_refused(install: Any, version: str, works: bool) -> None:
    install(f"__version__ = {version!r}")
    if works:
        assert load_trt().__version__ == version
        return
    with pytest.raises(RuntimeUnavailable, match=f"TensorRT {version} is installed, 10.3 is the oldest"):
        load_trt()


def test_versions() -> None:
    assert version_pair("10.13.3.9") == (10, 13)
    assert version_pair("10.3.0+cuda12") == (10, 3)
    assert version_pair("") == (0, 0)


def test_a_jetson_gets_the_systems_package(tmp_path: Path) -> None:
    assert missing_trt("tensorrt", tmp_path).hint == "pip install 'edgecnn[trt]'"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
    assert "apt install python3-libnvinfer" in missing_trt("tensorrt", tmp_path).hint
    assert missing_trt("tensorrt_rtx", tmp_path).hint == "pip install tensorrt-rtx-cu13"


def test_arm_servers_get_the_package_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.platform, "machine", lambda: "aarch64")
    assert missing_trt("tensorrt", tmp_path).hint == "pip install tensorrt-cu13"


def test_unknown_flavours_are_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="tensorrt_lean"):
        load_trt("tensorrt_lean")
