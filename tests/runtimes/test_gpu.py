"""On a machine with an NVIDIA GPU: the real CUDA, ONNX Runtime's GPU providers and TensorRT. `pytest -m gpu tests/runtimes`.

Each part asks for what it needs and no more: memory, copies and graphs need a driver and cuda-bindings only.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import EdgecnnError, InferenceError
from edgecnn.runtimes import OpenOptions, Runtime, Session, get_runtime
from edgecnn.runtimes.base import Array
from edgecnn.runtimes.nvidia.cudart import check, load_cudart, probe
from edgecnn.runtimes.trt.buffers import Memory
from edgecnn.runtimes.trt.execution import Built, TrtSession
from edgecnn.runtimes.trt.graphs import CudaGraph
from edgecnn.runtimes.trt.layers import engine_layers, int8_layers, layer_times
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.faketrtengine import FakeContext, FakeEngine
from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor
from edgecnn.testing.models import REFERENCE, TINY, TINY_INT8, TINY_TRT_INT8

pytestmark = pytest.mark.gpu

BACKENDS = ("cuda", "ort-trt", "trt")
BATCHES = (1, 4, 16)
BUNDLED = (
    "lenet5",
    "resnet20",
    "mobilenet_v1",
    "mobilenet_v2",
    "squeezenet1_1",
    "densenet_bc",
    "vgg11",
    "googlenet",
)

# float32 in another order of summation, TF32 off: relative to the largest logit.
FP32 = 2e-4


@pytest.fixture(scope="module")
def cudart() -> Any:
    """The real CUDA runtime, on a machine with a GPU."""
    try:
        probe()
    except EdgecnnError as error:
        pytest.skip(str(error))
    return load_cudart()


def usable(backend: str) -> Runtime:
    """Return a backend that can run here."""
    runtime = get_runtime(backend)
    try:
        runtime.check()
    except EdgecnnError as error:
        pytest.skip(f"{backend}: {error}")
    return runtime


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def exported(name: str, folder: Path) -> Path:
    """Return the file of a bundled network, exported once."""
    pytest.importorskip("torch", reason="bundled networks are exported with torch")
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.choice import choose_form

    path = folder / f"{name}.onnx"
    if not path.exists():
        form, source = choose_form(name, None)
        export_network(form, path, ExportOptions(weights=source))
    return path


def quantized(name: str, folder: Path) -> tuple[Path, Array]:
    """Return the file of a bundled network in int8 as TensorRT wants it, and images for it."""
    from edgecnn.data.fashion_mnist import FashionMnist
    from edgecnn.exporters.quantize import QuantizeConfig, quantize
    from edgecnn.preprocess import prepare

    source, path = exported(name, folder), folder / f"{name}.trt.int8.onnx"
    data = FashionMnist()
    if not path.exists():
        config = QuantizeConfig(target="trt", calibration_images=256)
        quantize(source, path, calibration=data.split("calibration"), evaluation=None, config=config)
    preprocess = load_artifact(source).spec.preprocess
    assert preprocess is not None
    return path, prepare(data.split("test").images[:200], preprocess)


def noise(path: Path, batch: int) -> dict[str, Array]:
    (source,) = load_artifact(path).spec.inputs
    shape = (batch, *[int(size) for size in source.shape[1:]])
    return {source.name: np.random.default_rng(batch).normal(size=shape).astype(source.dtype)}


def on_cpu(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    with get_runtime("cpu").open(load_artifact(path), OpenOptions()) as session:
        return session.run(feeds)


def no_further_than(got: dict[str, Array], wanted: dict[str, Array], tolerance: float) -> None:
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert np.abs(got[name] - value).max() <= tolerance * max(1.0, float(np.abs(value).max())), name


# The GPU itself.


def test_the_gpu_is_described(cudart: Any) -> None:
    device = probe(cudart)
    assert device.name
    assert device.compute_capability >= (5, 0)
    assert device.memory_bytes > 1 << 28
    assert device.multiprocessors > 0
    assert ":" in device.pci_bus_id
    assert float(device.driver_version) >= float(device.runtime_version.partition(".")[0])


def test_pinned_copies_and_a_graph_of_them(cudart: Any) -> None:
    """Addresses, streams and captures are used as CUDA wants them, checked by what arrives."""
    memory = Memory(cudart)
    stream = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking), "stream", cudart)
    try:
        source, target, device = memory.host(1 << 20), memory.host(1 << 20), memory.device(1 << 20)
        given, got = source.view((1 << 18,), "float32"), target.view((1 << 18,), "float32")
        kind = cudart.cudaMemcpyKind

        def work() -> None:
            to = kind.cudaMemcpyHostToDevice
            check(cudart.cudaMemcpyAsync(device.address, source.address, 1 << 20, to, stream), "in", cudart)
            back = kind.cudaMemcpyDeviceToHost
            check(cudart.cudaMemcpyAsync(target.address, device.address, 1 << 20, back, stream), "out", cudart)

        given[:] = 1
        work()
        check(cudart.cudaStreamSynchronize(stream), "wait", cudart)
        assert (got == 1).all()
        graph = CudaGraph(cudart, stream, work)
        for value in (2, 3):
            given[:] = value
            graph.launch()
            check(cudart.cudaStreamSynchronize(stream), "wait", cudart)
            assert (got == value).all()
        graph.close()
        with pytest.raises(ZeroDivisionError):
            CudaGraph(cudart, stream, lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        with pytest.raises(EdgecnnError):  # waiting is forbidden during a capture
            CudaGraph(cudart, stream, lambda: check(cudart.cudaStreamSynchronize(stream), "wait", cudart))
        work()  # the stream is as good as before
        check(cudart.cudaStreamSynchronize(stream), "wait", cudart)
    finally:
        memory.close()
        cudart.cudaStreamDestroy(stream)


class CopyContext(FakeContext):
    """An execution context without TensorRT: it copies its input to its output on the real GPU."""

    def __init__(self, engine: FakeEngine, cudart: Any) -> None:
        super().__init__(engine, True)
        self._cudart = cudart

    def _enqueue(self, stream: int) -> bool:
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        count = 4 * int(np.prod(self._shapes["x"]))
        copied = self._cudart.cudaMemcpyAsync(self._addresses["y"], self._addresses["x"], count, kind, stream)
        return not copied[0]


class CopyEngine(FakeEngine):
    """An engine of such contexts."""

    cudart: Any = None

    def create_execution_context(self, strategy: Any = None) -> FakeContext | None:
        return CopyContext(self, self.cudart)


def copy_session(cudart: Any, *, cuda_graph: bool) -> TrtSession:
    shape = (3, 32, 32)
    model = FakeModel(
        inputs=(FakeTensor(name="x", dtype="float32", shape=(-1, *shape)),),
        outputs=(FakeTensor(name="y", dtype="float32", shape=(-1, *shape)),),
        function=lambda feeds: {"y": feeds["x"]},
    )
    spec = ModelSpec(
        network="copy",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", *shape)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", *shape)),),
    )
    artifact = Artifact(path=Path("copy.onnx"), format="onnx", precision="fp32", sha256=None, size_bytes=1, spec=spec)
    ranges = {"x": ((1, *shape), (8, *shape), (16, *shape))}
    engine = CopyEngine(FakeTensorRT(FakeCudart()), model, ranges, True)
    engine.cudart = cudart
    options = OpenOptions(engine={"cuda_graph": cuda_graph})
    return TrtSession(engine, engine.trt, cudart, artifact, options, Built(from_cache=False), device=probe(cudart))


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_session_on_the_real_gpu_without_tensorrt(cudart: Any, cuda_graph: bool) -> None:
    """Buffers, stream, lanes, graphs and threads of backend trt, with an engine that only copies on the GPU."""
    wrong: list[int] = []
    with copy_session(cudart, cuda_graph=cuda_graph) as session:

        def work(number: int) -> None:
            generator = np.random.default_rng(number)
            for step in range(100):
                x = generator.normal(size=(1 + (number + step) % 12, 3, 32, 32)).astype(np.float32)
                if not np.array_equal(session.run({"x": x})["y"], x):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        x = np.ones((3, 3, 32, 32), np.float32)
        for _ in range(3):
            session.run({"x": x})
        assert session.info().options["cuda_graph"] is cuda_graph, session.info().options
    assert not wrong


def test_sessions_give_the_gpus_memory_back(cudart: Any) -> None:
    x = np.ones((16, 3, 32, 32), np.float32)
    left = []
    for _ in range(30):
        with copy_session(cudart, cuda_graph=True) as session:
            for _ in range(3):
                session.run({"x": x})
        left.append(check(cudart.cudaMemGetInfo(), "cudaMemGetInfo", cudart)[0])
    assert left[-1] >= left[5]


def test_the_child_of_a_fork_is_told(cudart: Any, tmp_path: Path) -> None:
    script = tmp_path / "fork.py"
    script.write_text(
        "import importlib.util, os, sys\n"
        "import numpy as np\n"
        f"spec = importlib.util.spec_from_file_location('gpu', {str(Path(__file__))!r})\n"
        "gpu = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(gpu)\n"
        "session = gpu.copy_session(gpu.load_cudart(), cuda_graph=True)\n"
        "x = np.ones((1, 3, 32, 32), np.float32)\n"
        "session.run({'x': x})\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try:\n"
        "        session.run({'x': x})\n"
        "    except gpu.InferenceError as error:\n"
        "        assert 'spawn' in error.hint\n"
        "        session.close()\n"
        "        sys.exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "session.run({'x': x})\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert InferenceError.exit_code == 6


# Every GPU backend against the CPU.


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ["tiny", *BUNDLED])
@pytest.mark.parametrize("backend", BACKENDS)
def test_fp32_is_that_of_the_cpu(backend: str, name: str, batch: int, folder: Path) -> None:
    runtime = usable(backend)
    path = TINY if name == "tiny" else exported(name, folder)
    feeds = noise(path, batch)
    with runtime.open(load_artifact(path), OpenOptions(max_batch=max(BATCHES))) as session:
        for _ in range(3):  # the third one is the replay of a graph where there are graphs
            got = session.run(feeds)
            no_further_than(got, on_cpu(path, feeds), FP32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_session_bit_for_bit(backend: str) -> None:
    runtime = usable(backend)
    with np.load(REFERENCE) as stored:
        images = stored["input"]
    with runtime.open(load_artifact(TINY), OpenOptions(max_batch=1)) as session:
        wanted = [session.run({"input": images[i : i + 1]})["logits"] for i in range(len(images))]
        wrong: list[int] = []

        def work(offset: int) -> None:
            for step in range(200):
                i = (step + offset) % len(images)
                if not np.array_equal(session.run({"input": images[i : i + 1]})["logits"], wanted[i]):
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


# TensorRT.


def opened(runtime: Runtime, path: Path, **engine: Any) -> Session:
    return runtime.open(load_artifact(path), OpenOptions(max_batch=max(BATCHES), engine=engine))


@pytest.mark.parametrize("name", ["tiny", *BUNDLED])
def test_graphs_change_no_bit(name: str, folder: Path) -> None:
    runtime = usable("trt")
    path = TINY if name == "tiny" else exported(name, folder)
    with opened(runtime, path) as graph, opened(runtime, path, cuda_graph=False) as plain:
        for batch in (*BATCHES, *BATCHES):
            feeds = noise(path, batch)
            answers = [session.run(feeds) for session in (graph, plain, graph, plain, graph)]
            for one in answers[1:]:
                for output, value in answers[0].items():
                    assert np.array_equal(one[output], value), (batch, output)
        assert graph.info().options["cuda_graph"] is True, graph.info().options
        assert plain.info().options["cuda_graph"] is False
        assert graph.info().options["tf32"] is False


def test_the_second_opening_is_from_the_cache(tmp_path: Path) -> None:
    runtime = usable("trt")
    options = OpenOptions(max_batch=2, cache_folder=tmp_path)
    origins = []
    for _ in range(2):
        with runtime.open(load_artifact(TINY), options) as session:
            origins.append(session.info().options["engine_from"])
    assert origins == ["build", "cache"]


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v1"])
def test_int8_computes_in_int8_and_agrees_with_the_cpu(name: str, folder: Path) -> None:
    runtime = usable("trt")
    pytest.importorskip("torch", reason="bundled networks are exported with torch")
    path, images = quantized(name, folder)
    (source,) = load_artifact(path).spec.inputs
    with opened(runtime, path) as session:
        assert isinstance(session, TrtSession)
        session.run({source.name: images[:16]})
        proof = int8_layers(session)
        assert proof.int8, proof
        agree = 0
        for start in range(0, len(images), 16):
            feeds = {source.name: images[start : start + 16]}
            (got,), (wanted,) = session.run(feeds).values(), on_cpu(path, feeds).values()
            agree += int((got.argmax(1) == wanted.argmax(1)).sum())
    assert agree >= 0.97 * len(images)


def test_the_tiny_int8_model_is_that_of_the_reference() -> None:
    runtime = usable("trt")
    with np.load(REFERENCE) as stored:
        reference = dict(stored)
    with opened(runtime, TINY_TRT_INT8) as session:
        got = session.run({"input": reference["input"]})["logits"]
    assert np.abs(got - reference["trt_int8_logits"]).max() <= 1.01 * float(reference["trt_int8_step"])
    with pytest.raises(EdgecnnError, match="uint8"):
        opened(runtime, TINY_INT8)


@pytest.mark.parametrize("name", ["tiny", "resnet20"])
def test_every_layer_has_a_time(name: str, folder: Path) -> None:
    runtime = usable("trt")
    path = TINY if name == "tiny" else exported(name, folder)
    with opened(runtime, path) as session:
        assert isinstance(session, TrtSession)
        session.run(noise(path, 4))
        times = layer_times(session, noise(path, 4), runs=10)
        names = {layer.name for layer in engine_layers(session.inspect())}
    assert all(one.median_ns > 0 for one in times)
    assert sum(one.share for one in times) == pytest.approx(1)
    assert {one.name for one in times} & names, (times, names)


def test_a_batch_that_is_too_large_is_said_and_the_session_lives() -> None:
    runtime = usable("trt")
    with opened(runtime, TINY) as session:
        with pytest.raises(EdgecnnError, match=r"to \[16, 1, 8, 8\]"):
            session.run(noise(TINY, 17))
        session.run(noise(TINY, 16))
