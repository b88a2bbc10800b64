"""What is asked before ONNX Runtime runs on a GPU, in order, and what each answer says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecnn.errors import BadInput, MissingDependency, RuntimeUnavailable
from edgecnn.runtimes.ort import gpu
from edgecnn.runtimes.ort.gpu import CUDA, TENSORRT, check_gpu, provider_errors
from edgecnn.testing.fakecuda import FakeCudart, FakeDevice
from edgecnn.testing.fakeort import FakeOrt

# As elf files of the package's test write them.
spec = importlib.util.spec_from_file_location("elf_files", Path(__file__).parents[1] / "nvidia" / "test_elf.py")
assert spec is not None
assert spec.loader is not None
elf_files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(elf_files)

NEEDED = {
    CUDA: ["libcublasLt.so.13", "libcurand.so.10", "libcudart.so.13", "libcuda.so.1", "libc.so.6"],
    TENSORRT: ["libnvinfer.so.10", "libcudart.so.13", "libc.so.6"],
}
ALL = {name for names in NEEDED.values() for name in names}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeOrt:
    """The package with both GPU providers, as installed."""
    (tmp_path / "capi").mkdir()
    code = {CUDA: [elf_files.fatbin([(2, 80), (2, 90)])], TENSORRT: []}
    for provider, needed in NEEDED.items():
        (tmp_path / "capi" / gpu._LIBRARIES[provider]).write_bytes(elf_files.library(needed, code[provider]))
    fake = FakeOrt(tmp_path)
    monkeypatch.setattr(gpu, "import_engine", lambda **_: fake)
    return fake


def loader(*missing: str) -> Callable[[str], Any]:
    def load(name: str) -> None:
        if Path(name).name in missing:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    return load


def test_all_there(engine: FakeOrt) -> None:
    found, device = check_gpu(TENSORRT, backend="ort-trt", load=loader(), cudart=FakeCudart())
    assert found is engine
    assert device.compute_capability == (8, 6)


def test_without_the_package_the_fix_is_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where there is no such package
    with pytest.raises(MissingDependency, match="backend cuda needs the package onnxruntime-gpu") as caught:
        check_gpu(CUDA, backend="cuda")
    assert caught.value.hint == "pip install 'edgecnn[cuda]'"


@pytest.mark.parametrize(
    ("distributions", "fix"),
    [
        (("onnxruntime",), "pip uninstall -y onnxruntime && pip install 'edgecnn[cuda]'"),
        (
            ("onnxruntime", "onnxruntime-gpu"),
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'edgecnn[cuda]'",
        ),
    ],
)
def test_a_package_without_cuda(
    engine: FakeOrt, distributions: tuple[str, ...], fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._providers = ["AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(gpu, "engine_distributions", lambda: distributions)
    with pytest.raises(RuntimeUnavailable, match="has no CUDAExecutionProvider") as caught:
        check_gpu(CUDA, backend="cuda", load=loader(*ALL), cudart=FakeCudart())
    assert caught.value.hint == fix


def test_without_a_gpu_that_is_said_before_another_package_is_advised(engine: FakeOrt) -> None:
    engine._providers = ["CPUExecutionProvider"]
    with pytest.raises(RuntimeUnavailable, match=r"no NVIDIA driver.*has no CUDAExecutionProvider") as caught:
        check_gpu(CUDA, backend="cuda", load=loader(*ALL), cudart=FakeCudart((), driver_version=0))
    assert "; then: pip uninstall" in caught.value.hint


def test_without_a_driver_that_comes_first_also_where_cuda_cannot_be_asked(
    engine: FakeOrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._providers = ["CPUExecutionProvider"]
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, name, None)  # as where there is no such package
    with pytest.raises(RuntimeUnavailable, match=r"^no NVIDIA driver.*has no CUDAExecutionProvider") as caught:
        check_gpu(CUDA, backend="cuda", load=loader("libcuda.so.1"))
    assert caught.value.hint.startswith("install the NVIDIA driver")
    with pytest.raises(RuntimeUnavailable, match="has no CUDAExecutionProvider") as caught:
        check_gpu(CUDA, backend="cuda", load=loader())
    assert caught.value.hint.startswith("pip uninstall")


def test_a_provider_without_its_library(engine: FakeOrt, tmp_path: Path) -> None:
    (tmp_path / "capi" / "libonnxruntime_providers_tensorrt.so").unlink()
    with pytest.raises(RuntimeUnavailable, match="has no TensorrtExecutionProvider"):
        check_gpu(TENSORRT, backend="ort-trt", load=loader())


def test_missing_libraries_are_all_named_with_their_packages(engine: FakeOrt) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        check_gpu(CUDA, backend="cuda", load=loader("libcublasLt.so.13", "libcuda.so.1"), cudart=FakeCudart())
    assert caught.value.message == "libonnxruntime_providers_cuda.so needs libcublasLt.so.13, libcuda.so.1: not found"
    assert caught.value.hint.startswith("pip install 'nvidia-cublas~=13.0'; install the NVIDIA driver")


def test_cudnn_is_needed_although_the_library_does_not_say_so(engine: FakeOrt) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"libonnxruntime_providers_cuda\.so needs libcudnn\.so\.9") as caught:
        check_gpu(CUDA, backend="cuda", load=loader("libcudnn.so.9"), cudart=FakeCudart())
    assert caught.value.hint == "pip install 'nvidia-cudnn-cu13~=9.0'"


def test_the_packages_are_those_of_the_cuda_that_the_engine_was_built_for(engine: FakeOrt, tmp_path: Path) -> None:
    library = tmp_path / "capi" / "libonnxruntime_providers_cuda.so"
    library.write_bytes(elf_files.library(["libcublas.so.12", "libcurand.so.10", "libcudart.so.12", "libodd.so.3"]))
    with pytest.raises(RuntimeUnavailable) as caught:
        check_gpu(CUDA, backend="cuda", load=loader("libcublas.so.12", "libcurand.so.10", "libodd.so.3"))
    assert "'nvidia-cublas-cu12' 'nvidia-curand-cu12'" in caught.value.hint
    assert "install what brings libodd.so.3" in caught.value.hint


def test_tensorrt_10_is_asked_for_by_name(engine: FakeOrt) -> None:
    with pytest.raises(
        RuntimeUnavailable, match=r"libonnxruntime_providers_tensorrt\.so needs libnvinfer\.so\.10"
    ) as one:
        check_gpu(TENSORRT, backend="ort-trt", load=loader("libnvinfer.so.10"), cudart=FakeCudart())
    assert one.value.hint == "pip install 'tensorrt-cu13>=10.14,<11'"


def test_no_driver_and_no_gpu_come_after_the_libraries(engine: FakeOrt) -> None:
    for cudart in (FakeCudart(driver_version=0), FakeCudart(devices=())):
        with pytest.raises(RuntimeUnavailable) as caught:
            check_gpu(CUDA, backend="cuda", load=loader(), cudart=cudart)
        assert "libcu" not in caught.value.message
        assert caught.value.hint


def test_a_gpu_that_the_package_has_no_code_for(engine: FakeOrt) -> None:
    orin = FakeCudart(devices=(FakeDevice(name=b"Orin", major=7, minor=2),))
    with pytest.raises(RuntimeUnavailable, match=r"Orin is sm_72; .* has code for sm_80, sm_90 only"):
        check_gpu(CUDA, backend="cuda", load=loader(), cudart=orin)


def test_nothing_is_created_before_all_has_been_asked(engine: FakeOrt) -> None:
    with pytest.raises(RuntimeUnavailable):
        check_gpu(CUDA, backend="cuda", load=loader("libcuda.so.1"), cudart=FakeCudart())
    assert engine.calls == []


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("CUDA failure 100: no CUDA-capable device is detected ; GPU=-1", RuntimeUnavailable, "CUDA failure 100"),
        ("Please install TensorRT libraries as mentioned in", RuntimeUnavailable, "Please install TensorRT"),
        (
            "/src/x.cc:71 Foo() [ONNXRuntimeError] : 1 : FAIL : CUDA failure 3",
            RuntimeUnavailable,
            "here: CUDA failure 3",
        ),
        ("Unknown provider option: no_such", BadInput, "refuses an engine option"),
        ("Load model from x.onnx failed:Protobuf parsing failed.", BadInput, "cannot load"),
    ],
)
def test_the_engines_words_blame_the_right_side(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said), provider_errors("cuda"):
        raise BadInput("onnxruntime cannot load x.onnx") from RuntimeError(text)


def test_a_file_that_is_bad_input_by_itself_stays_so() -> None:
    with pytest.raises(BadInput, match="as it was"), provider_errors("cuda"):
        raise BadInput("as it was")
