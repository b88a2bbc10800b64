"""Backends cuda and ort-trt: options, placement and strictness, on a stand-in and on the real GPU package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import (
    BadInput,
    Contradiction,
    EdgecnnError,
    InferenceError,
    ProviderFallback,
    RuntimeUnavailable,
    UnknownName,
)
from edgecnn.runtimes import OpenOptions, Runtime, get_runtime
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.ort.options import CUDA_OPTIONS, TENSORRT_OPTIONS, TENSORRT_OWNED, encode_options
from edgecnn.specs import Scalar, TensorSpec
from edgecnn.testing.fakegpu import FAKE_GPU as GPU
from edgecnn.testing.fakeort import FakeOrt
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

IMAGES = np.ones((2, 1, 8, 8), np.float32)

Machine = Callable[..., FakeOrt]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Make this a machine with a GPU, as far as the backends see."""

    def make(**named: Any) -> FakeOrt:
        engine = FakeOrt(tmp_path, **named)

        def check_gpu(provider: str, *, backend: str, ordinal: int = 0) -> tuple[FakeOrt, CudaDevice]:
            return engine, replace(GPU, ordinal=ordinal)

        for module in ("cuda", "ort_trt"):
            monkeypatch.setattr(f"edgecnn.runtimes.{module}.check_gpu", check_gpu)
        return engine

    return make


def runtime(name: str) -> Runtime:
    return get_runtime(name)


def test_cuda_runs_on_the_gpu_alone_and_says_how(machine: Machine) -> None:
    engine = machine()
    with runtime("cuda").open(load_artifact(TINY), OpenOptions(threads=1, max_batch=4)) as session:
        np.testing.assert_array_equal(session.run({"input": IMAGES})["logits"], [[64], [64]])
        info = session.info()
    assert engine.sessions[0].options == {
        "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    }
    assert info.backend == "cuda"
    assert info.providers_asked == ("CUDAExecutionProvider",)
    assert info.nodes == {"CUDAExecutionProvider": 2}
    assert info.options["gpu"] == "Fake GPU"
    assert info.options["use_tf32"] is False
    assert info.options["cudnn_conv_algo_search"] == "HEURISTIC"


def test_open_warms_one_image_and_the_largest_batch(machine: Machine) -> None:
    engine = machine()
    runtime("cuda").open(load_artifact(TINY), OpenOptions(max_batch=4))
    assert [call[3][0] for call in engine.calls if call[0] == "allocate"] == [1, 1, 4, 4]
    assert sum(call[0] == "run" for call in engine.calls) == 2
    with pytest.raises(Contradiction, match="max_batch=4"):
        runtime("cuda").open(load_artifact(TINY_BATCH1), OpenOptions(max_batch=4))


def test_options_reach_the_provider(machine: Machine) -> None:
    engine = machine()
    given: dict[str, Scalar] = {"use_tf32": True, "device_id": 1, "enable_cuda_graph": True, "gpu_mem_limit": 1 << 30}
    with runtime("cuda").open(load_artifact(TINY), OpenOptions(engine=given)) as session:
        assert session.info().options["use_tf32"] is True
    assert engine.sessions[0].options["CUDAExecutionProvider"] == {
        "use_tf32": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "device_id": "1",
        "enable_cuda_graph": "1",
        "gpu_mem_limit": str(1 << 30),
    }
    assert {call[1:3] for call in engine.calls if call[0] == "allocate"} == {("cuda", 1)}
    assert [call[1] for call in engine.calls if call[0] == "capture"] == ["1"]


@pytest.mark.parametrize("backend", ["cuda", "ort-trt"])
def test_the_cpu_in_silence_is_a_fallback(backend: str, machine: Machine) -> None:
    machine(active=["CPUExecutionProvider"])
    with pytest.raises(ProviderFallback, match=r"asked for \w+, got CPUExecutionProvider"):
        runtime(backend).open(load_artifact(TINY), OpenOptions(cache=False))


def test_a_single_node_elsewhere_is_named_unless_it_was_allowed(machine: Machine) -> None:
    machine(placed={"CUDAExecutionProvider": ["c1", "c2"], "CPUExecutionProvider": ["shape_of_x"]})
    with pytest.raises(ProviderFallback, match=r"1 of 3 nodes on CPUExecutionProvider: shape_of_x \(Conv\)"):
        runtime("cuda").open(load_artifact(TINY), OpenOptions())
    with runtime("cuda").open(load_artifact(TINY), OpenOptions(allow_fallback=True)) as session:
        assert session.info().nodes == {"CUDAExecutionProvider": 2, "CPUExecutionProvider": 1}


@pytest.mark.parametrize(
    ("backend", "options", "error"),
    [
        ("cuda", {"engine": {"cudnn_conv_algo_search": "FAST"}}, BadInput),
        ("cuda", {"engine": {"use_tf23": 1}}, UnknownName),
        ("cuda", {"engine": {"device_id": -1}}, BadInput),
        ("cuda", {"engine": {"gpu_mem_limit": "2 GB"}}, BadInput),
        ("cuda", {"engine": {"use_tf32": "yes"}}, BadInput),
        ("cuda", {"engine": {"user_compute_stream": 1}}, UnknownName),
        ("cuda", {"arena": False}, Contradiction),
        ("cuda", {"cache": True}, Contradiction),
        ("cuda", {"trust_engine": True}, Contradiction),
        ("ort-trt", {"engine": {"trt_int8_enable": True}}, Contradiction),
        ("ort-trt", {"engine": {"trt_engine_cache_path": "/tmp"}}, Contradiction),
        ("ort-trt", {"engine": {"trt_builder_optimization_level": 6}}, BadInput),
        ("ort-trt", {"engine": {"trt_fp61_enable": True}}, UnknownName),
        ("ort-trt", {"trust_engine": True}, Contradiction),
    ],
)
def test_what_cannot_be_is_refused_before_the_machine_is_asked(
    backend: str, options: dict[str, Any], error: type[EdgecnnError]
) -> None:
    with pytest.raises(error):
        runtime(backend).open(load_artifact(TINY), OpenOptions(**options))


def test_a_first_run_that_fails_is_said_at_open(machine: Machine) -> None:
    engine = machine()
    session_class = engine.InferenceSession

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDNN failure 5003")

    session_class.run_with_iobinding = session_class.run = fail  # type: ignore[attr-defined]
    with pytest.raises(InferenceError, match="CUDNN failure"):
        runtime("cuda").open(load_artifact(TINY), OpenOptions())


def test_a_provider_that_fails_to_start_does_not_blame_the_file(machine: Machine) -> None:
    machine(refuse=lambda *_: RuntimeError("CUDA failure 35: CUDA driver version is insufficient"))
    with pytest.raises(RuntimeUnavailable, match="CUDA failure 35"):
        runtime("cuda").open(load_artifact(TINY), OpenOptions())


def test_ort_trt_builds_for_the_batches_that_were_promised(machine: Machine) -> None:
    engine = machine()
    options = OpenOptions(max_batch=8, cache=False)
    with runtime("ort-trt").open(load_artifact(TINY), options) as session:
        chosen = engine.sessions[0].options
        assert list(chosen) == ["TensorrtExecutionProvider"]
        assert chosen["TensorrtExecutionProvider"] == {
            "trt_profile_min_shapes": "input:1x1x8x8",
            "trt_profile_opt_shapes": "input:8x1x8x8",
            "trt_profile_max_shapes": "input:8x1x8x8",
        }
        session.run({"input": np.ones((8, 1, 8, 8), np.float32)})
        with pytest.raises(
            BadInput, match=r"expected a batch of at most 8, got 9 \(open it with OpenOptions\(max_batch"
        ):
            session.run({"input": np.ones((9, 1, 8, 8), np.float32)})


def test_what_tensorrt_leaves_over_goes_to_cuda_where_falling_back_is_allowed(machine: Machine) -> None:
    engine = machine(placed={"TensorrtExecutionProvider": ["c1"], "CUDAExecutionProvider": ["odd"]})
    with pytest.raises(ProviderFallback, match="1 of 2 nodes on CUDAExecutionProvider: odd"):
        runtime("ort-trt").open(load_artifact(TINY), OpenOptions(cache=False))
    with runtime("ort-trt").open(load_artifact(TINY), OpenOptions(cache=False, allow_fallback=True)):
        assert list(engine.sessions[-1].options) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_the_files_precision_is_the_engines(machine: Machine) -> None:
    engine = machine()
    for precision, option in (("fp16", "trt_fp16_enable"), ("bf16", "trt_bf16_enable")):
        artifact = replace(load_artifact(TINY_BATCH1), precision=precision)  # type: ignore[arg-type]
        with runtime("ort-trt").open(artifact, OpenOptions(cache=False)):
            assert engine.sessions[-1].options["TensorrtExecutionProvider"] == {option: "1"}


def test_an_int8_file_for_other_processors_is_refused(machine: Machine) -> None:
    engine = machine()
    artifact = load_artifact(TINY_INT8)
    with pytest.raises(BadInput, match="not quantized for TensorRT"):
        runtime("ort-trt").open(artifact, OpenOptions(cache=False))
    assert not engine.sessions


def test_open_sizes_other_than_the_batch_are_refused() -> None:
    from edgecnn.runtimes.ort_trt import profile

    with pytest.raises(BadInput, match="no open size but the batch"):
        profile((TensorSpec(name="x", dtype="float32", shape=("N", 3, "H", "W")),), None)
    assert profile((TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 8)),), None) == {}


def test_options_are_encoded_as_text() -> None:
    given: dict[str, Scalar] = {
        "trt_fp16_enable": True,
        "trt_auxiliary_streams": -1,
        "trt_op_types_to_exclude": "Resize",
    }
    assert encode_options("ort-trt", given, TENSORRT_OPTIONS, TENSORRT_OWNED) == {
        "trt_fp16_enable": "1",
        "trt_auxiliary_streams": "-1",
        "trt_op_types_to_exclude": "Resize",
    }


def gpu_package() -> Path:
    """The folder of the real GPU package, or a skip that says why."""
    installed = {one.name for one in importlib.metadata.distributions()}
    if "onnxruntime-gpu" not in installed or "onnxruntime" in installed:
        pytest.skip("needs a virtual environment with onnxruntime-gpu in place of onnxruntime")
    import onnxruntime

    return Path(onnxruntime.__file__).parent / "capi"


def test_the_gpu_package_knows_every_option() -> None:
    folder = gpu_package()
    for library, options in (("cuda", CUDA_OPTIONS), ("tensorrt", {**TENSORRT_OPTIONS, **TENSORRT_OWNED})):
        text = (folder / f"libonnxruntime_providers_{library}.so").read_bytes()
        text += next(folder.glob("onnxruntime_pybind11_state*.so")).read_bytes()
        assert not [name for name in options if name.encode() not in text]


@pytest.mark.parametrize(("backend", "library"), [("cuda", "libcublasLt.so.13"), ("ort-trt", "libnvinfer.so.10")])
def test_the_gpu_package_without_a_gpu_is_said_before_anything_is_made(
    backend: str, library: str, tmp_path: Path
) -> None:
    gpu_package()
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn", "bench", "--backend", backend],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert done.stdout == ""
    assert library in done.stderr or "no NVIDIA driver" in done.stderr
    assert "hint: " in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_gpu_package_without_a_gpu_falls_back_unless_it_is_asked_strictly(
    capfd: pytest.CaptureFixture[str],
) -> None:
    gpu_package()
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    from edgecnn.runtimes.ort.session import OrtSession, import_engine, session_options

    engine = import_engine()
    for provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NoSuchExecutionProvider"):
        with pytest.raises(EdgecnnError):
            OrtSession(
                engine,
                load_artifact(TINY),
                OpenOptions(),
                backend="test",
                providers=[(provider, {})],
                chosen=session_options(engine, OpenOptions(), 1),
                threads=1,
            )
    assert capfd.readouterr().out == ""
