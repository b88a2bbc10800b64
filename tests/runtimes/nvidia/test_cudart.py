import sys
import types

import pytest

from edgecnn.errors import InferenceError, MissingDependency, RuntimeUnavailable
from edgecnn.runtimes.nvidia.cudart import check, cuda_error, load_cudart, probe
from edgecnn.testing.fakecuda import FakeCudart, FakeDevice
from edgecnn.testing.fakecudatypes import cudaError_t


def test_probe_describes_the_gpu_and_makes_no_context():
    orin = FakeDevice(name=b"Orin", major=8, minor=7, multiProcessorCount=8, totalGlobalMem=1 << 33, integrated=1)
    cuda = FakeCudart([FakeDevice(), orin], driver_version=12060, runtime_version=12090)
    device = probe(cuda, 1)
    assert (device.name, device.compute_capability, device.sm) == ("Orin", (8, 7), "sm_87")
    assert (device.ordinal, device.multiprocessors, device.memory_bytes, device.integrated) == (1, 8, 1 << 33, True)
    assert (device.driver_version, device.runtime_version) == ("12.6", "12.9")
    assert device.pci_bus_id == "0000:02:00.0"
    assert cuda.named("cudaSetDevice", "cudaMalloc") == []


def test_without_driver():
    with pytest.raises(RuntimeUnavailable, match="no NVIDIA driver") as caught:
        probe(FakeCudart(driver_version=0))
    assert "install the NVIDIA driver" in caught.value.hint
    assert "--gpus all" in caught.value.hint


def test_the_real_runtime_without_driver_says_so():
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    if cudart.cudaDriverGetVersion()[1]:
        pytest.skip("this machine has a driver")
    with pytest.raises(RuntimeUnavailable, match="no NVIDIA driver") as caught:
        probe()
    assert caught.value.hint


def test_a_driver_of_an_older_cuda_names_both_versions():
    cuda = FakeCudart(driver_version=12020)
    cuda.fail("cudaGetDeviceCount", 35)
    with pytest.raises(RuntimeUnavailable, match=r"up to 12\.2.*CUDA 13\.0") as caught:
        probe(cuda)
    assert "cuda-bindings==12.*" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "reason", "fix"),
    [
        (34, "stub", "LD_LIBRARY_PATH"),
        (36, "older", "newer NVIDIA driver"),
        (46, "busy", "nvidia-smi"),
        (100, "no GPU", "CUDA_VISIBLE_DEVICES"),
        (802, "not ready", "fabricmanager"),
        (803, "do not match", "reboot"),
        (999, "without a reason", "nvidia_uvm"),
    ],
)
def test_errors_of_the_machine_have_reason_and_fix(code, reason, fix):
    cuda = FakeCudart()
    cuda.fail("cudaGetDeviceCount", code)
    with pytest.raises(RuntimeUnavailable, match=reason) as caught:
        probe(cuda)
    assert fix in caught.value.hint
    assert f"CUDA error {code}, {cudaError_t(code).name}" in caught.value.message


def test_every_call_of_the_probe_may_fail():
    for name in ("cudaGetDeviceCount", "cudaGetDeviceProperties", "cudaDeviceGetAttribute", "cudaDeviceGetPCIBusId"):
        cuda = FakeCudart()
        cuda.fail(name, 999)
        with pytest.raises(RuntimeUnavailable):
            probe(cuda)


def test_no_gpu_and_no_gpu_of_that_number():
    with pytest.raises(RuntimeUnavailable, match="no GPU"):
        probe(FakeCudart([]))
    for ordinal in (-1, 2):
        with pytest.raises(RuntimeUnavailable, match=f"no GPU {ordinal}, this machine shows 2"):
            probe(FakeCudart([FakeDevice(), FakeDevice()]), ordinal)


def test_a_gpu_that_is_closed_to_programs():
    with pytest.raises(RuntimeUnavailable, match="compute mode Prohibited") as caught:
        probe(FakeCudart([FakeDevice(), FakeDevice(compute_mode=2)]), 1)
    assert caught.value.hint == "sudo nvidia-smi -i 1 --compute-mode=0"


@pytest.mark.parametrize(
    ("text", "reason"), [('"cuda" is an NVIDIA driver library', "no NVIDIA driver"), ("odd", "cannot be asked")]
)
def test_exceptions_of_the_bindings_are_translated(text, reason):
    class Raising(FakeCudart):
        def cudaGetDeviceCount(self):  # noqa: N802 (CUDA's name)
            raise RuntimeError(text)

    with pytest.raises(RuntimeUnavailable, match=reason) as caught:
        probe(Raising())
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_check_gives_the_values():
    good = cudaError_t.cudaSuccess
    assert check((good,)) is None
    assert check((good, 7)) == 7
    assert check((good, 7, 8)) == (7, 8)


def test_errors_of_calls_say_what_failed_and_what_to_do():
    with pytest.raises(InferenceError, match=r"copy: CUDA error 700, cudaErrorIllegalAddress: text of") as caught:
        check((cudaError_t.cudaErrorIllegalAddress, None), "copy", FakeCudart())
    assert "start the process again" in caught.value.hint
    assert "max_batch" in cuda_error(cudaError_t.cudaErrorMemoryAllocation).hint
    assert "spawn" in cuda_error(cudaError_t.cudaErrorInitializationError).hint
    assert "no text" in cuda_error(cudaError_t.cudaErrorInvalidValue).message  # without the module


def test_missing_bindings_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(MissingDependency) as caught:
        load_cudart(extra="cuda", purpose="backend cuda")
    assert str(caught.value) == "backend cuda needs the package cuda-bindings (pip install 'edgecnn[cuda]')"


def test_old_bindings_have_another_name(monkeypatch):
    fake = FakeCudart()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(cudart=fake))
    assert load_cudart() is fake
    assert probe().name == "Fake GPU"


def test_bindings_that_do_not_load_are_unavailable_with_their_reason(monkeypatch, tmp_path):
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "runtime.py").write_text("raise ImportError('libnvrtc.so.13: file too short')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cuda"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(RuntimeUnavailable, match="file too short") as caught:
        load_cudart()
    assert "cuda-bindings" in caught.value.hint
    for name in [name for name in sys.modules if name.partition(".")[0] == "cuda"]:
        del sys.modules[name]
