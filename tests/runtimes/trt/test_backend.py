"""Opening models over a fake TensorRT and a fake CUDA: what is built, kept, loaded and dropped, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, ModelError, RuntimeUnavailable, UnavailableError
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import probe
from edgecnn.runtimes.trt.backend import TrtRuntime
from edgecnn.runtimes.trt.engine_file import note_path
from edgecnn.runtimes.trt.engine_key import differences, engine_key, machine_key
from edgecnn.runtimes.trt.engines import deserialize
from edgecnn.runtimes.trt.options import BuildOptions
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

pytest.importorskip("onnxruntime")

IMAGE = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)

Machine = Callable[..., tuple[TrtRuntime, Any, FakeCudart]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`machine(version)`: backend trt on a machine with a GPU and that TensorRT, and both fakes."""

    def machine(version: str = "11.4.0.106") -> tuple[TrtRuntime, Any, FakeCudart]:
        cuda = FakeCudart()
        trt = FakeTensorRT(cuda, version=version)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)  # type: ignore[arg-type]
        return TrtRuntime(cudart=cuda), trt, cuda

    return machine


@pytest.fixture
def options(tmp_path: Path) -> OpenOptions:
    return OpenOptions(cache_folder=tmp_path / "kept")


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.0.0.114", "11.4.0.106"])
def test_one_code_for_all_versions(machine: Machine, options: OpenOptions, version: str) -> None:
    runtime, trt, cuda = machine(version)
    with runtime.open(load_artifact(TINY), options) as session:
        assert session.run({"input": IMAGE})["logits"].shape == (1, 3)
        info = session.info()
    assert (info.backend, info.engine_version) == ("trt", version)
    assert info.options["tf32"] is False
    assert info.options["build_seconds"] is not None
    assert trt.builds == 1
    assert cuda.faults == []
    assert cuda.live() == []


def test_the_engine_is_built_once_and_kept(machine: Machine, options: OpenOptions) -> None:
    runtime, trt, _ = machine()
    artifact = load_artifact(TINY)
    with runtime.open(artifact, options) as first, runtime.open(artifact, options) as second:
        wanted = first.run({"input": IMAGE})["logits"]
        np.testing.assert_array_equal(second.run({"input": IMAGE})["logits"], wanted)
        assert first.info().options["engine_from"] == "build"
        assert second.info().options["engine_from"] == "cache"
        assert "build_seconds" not in second.info().options
    assert trt.builds == 1
    assert options.cache_folder is not None
    names = {entry.name for entry in Cache(options.cache_folder).entries()}
    assert names == {"network.engine", "timing.cache"}


def test_without_a_cache_nothing_is_kept(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime, trt, _ = machine()
    for _ in range(2):
        runtime.open(load_artifact(TINY), OpenOptions(cache=False)).close()
    assert trt.builds == 2
    assert list(tmp_path.iterdir()) == []
    runtime.open(load_artifact(TINY), OpenOptions()).close()
    assert (tmp_path / "edgecnn" / "runtimes").is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"max_batch": 4},
        {"engine": {"tf32": True}},
        {"engine": {"optimization_level": 1}},
        {"engine": {"workspace_mib": 16}},
        {"engine": {"profiling_verbosity": "none"}},
    ],
)
def test_another_build_is_another_engine(machine: Machine, options: OpenOptions, change: dict[str, Any]) -> None:
    runtime, trt, _ = machine()
    runtime.open(load_artifact(TINY), options).close()
    for _ in range(2):
        runtime.open(load_artifact(TINY), OpenOptions(cache_folder=options.cache_folder, **change)).close()
    assert trt.builds == 2


def test_another_version_is_another_engine(machine: Machine, options: OpenOptions) -> None:
    for version in ("10.3.0", "11.4.0.106"):
        runtime, trt, _ = machine(version)
        runtime.open(load_artifact(TINY), options).close()
        assert trt.builds == 1


def test_an_engine_that_does_not_load_is_built_again_once(machine: Machine, options: OpenOptions) -> None:
    runtime, trt, _ = machine()
    runtime.open(load_artifact(TINY), options).close()
    trt.fail("deserialize_cuda_engine", times=1)
    with runtime.open(load_artifact(TINY), options) as session:
        assert session.info().options["engine_from"] == "build"
    assert trt.builds == 2
    trt.fail("deserialize_cuda_engine")
    with pytest.raises(RuntimeUnavailable, match="does not load the engine that it has built: Cuda Runtime"):
        runtime.open(load_artifact(TINY), options)
    assert trt.builds == 3
    trt.fail("deserialize_cuda_engine", times=0)
    runtime.open(load_artifact(TINY), options).close()
    assert trt.builds == 4  # the one that did not load was not kept


def test_the_times_of_builds_add_up(machine: Machine, options: OpenOptions) -> None:
    runtime, _, _ = machine()
    for level in (1, 2, 3):
        chosen = OpenOptions(cache_folder=options.cache_folder, engine={"optimization_level": level})
        runtime.open(load_artifact(TINY), chosen).close()
    assert options.cache_folder is not None
    (entry,) = [one for one in Cache(options.cache_folder).entries() if one.name == "timing.cache"]
    assert entry.path.read_bytes().count(b"t") >= 3
    assert entry.key["version"] == "11.4.0.106"


def test_batches_beyond_the_range_are_refused(machine: Machine, options: OpenOptions) -> None:
    runtime, _, cuda = machine()
    chosen = OpenOptions(cache_folder=options.cache_folder, max_batch=4)
    with runtime.open(load_artifact(TINY), chosen) as session:
        assert session.run({"input": np.repeat(IMAGE, 4, 0)})["logits"].shape == (4, 3)
        with pytest.raises(BadInput, match=r"\[4, 1, 8, 8\]"):
            session.run({"input": np.repeat(IMAGE, 5, 0)})
    assert cuda.faults == []


@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [
        ("parse", BadInput, r"node of the fake \(Conv\): Assertion failed"),
        ("build_serialized_network", ModelError, "cannot build an engine: .*no implementation"),
        ("add_optimization_profile", BadInput, "range of batches"),
        ("Builder", RuntimeUnavailable, "gives no builder"),
        ("Runtime", RuntimeUnavailable, "gives no runtime"),
    ],
)
def test_failures_say_what_tensorrt_says(
    machine: Machine, options: OpenOptions, fails: str, error: type[Exception], words: str
) -> None:
    runtime, trt, cuda = machine()
    trt.fail(fails)
    with pytest.raises(error, match=words):
        runtime.open(load_artifact(TINY), options)
    assert cuda.live() == []
    trt.fail(fails, times=0)
    runtime.open(load_artifact(TINY), options).close()


def test_a_file_for_processors_is_refused_before_the_parser(machine: Machine, options: OpenOptions) -> None:
    runtime, trt, _ = machine()
    with pytest.raises(BadInput, match="is not quantized for TensorRT"):
        runtime.open(load_artifact(TINY_INT8), options)
    assert trt.builds == 0


def test_requests_that_cannot_be_are_refused_before_the_gpu(machine: Machine) -> None:
    runtime, _, cuda = machine()
    for artifact, wrong in (
        (TINY, OpenOptions(arena=False)),
        (TINY, OpenOptions(engine={"optimization_level": 9})),
        (TINY_BATCH1, OpenOptions(engine={"opt_batch": 2})),
    ):
        with pytest.raises((BadInput, Contradiction)):
            runtime.open(load_artifact(artifact), wrong)
    assert cuda.calls == []


def test_a_cache_that_others_may_write_to_is_refused(machine: Machine, options: OpenOptions) -> None:
    runtime, trt, _ = machine()
    assert options.cache_folder is not None
    options.cache_folder.mkdir()
    options.cache_folder.chmod(0o777)
    with pytest.raises(UnavailableError, match="chmod 700"):
        runtime.open(load_artifact(TINY), options)
    assert trt.builds == 0


def test_progress_is_told_and_can_stop_a_build(machine: Machine, options: OpenOptions) -> None:
    _, _, cuda = machine()
    told: list[tuple[str, int, int]] = []
    TrtRuntime(cudart=cuda, progress=lambda *step: told.append(step)).open(load_artifact(TINY), options).close()
    assert told == [("Building", 0, 1), ("Building", 1, 1)]

    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    assert options.cache_folder is not None
    other = OpenOptions(cache_folder=options.cache_folder, max_batch=2)
    with pytest.raises(KeyboardInterrupt):
        TrtRuntime(cudart=cuda, progress=stop).open(load_artifact(TINY), other)
    assert len([one for one in Cache(options.cache_folder).entries() if one.name == "network.engine"]) == 1


class TestEngineFiles:
    """An engine that is given as a file."""

    @pytest.fixture
    def engine(self, machine: Machine, tmp_path: Path, options: OpenOptions) -> Path:
        runtime, _, _ = machine()
        path = tmp_path / "own" / "tiny.engine"
        runtime.save_engine(load_artifact(TINY), path, options)
        return path

    def test_it_is_code_and_must_be_trusted(self, machine: Machine, engine: Path) -> None:
        runtime, _, cuda = machine()
        with pytest.raises(BadInput, match="executable code") as caught:
            runtime.open(load_artifact(engine), OpenOptions())
        assert "--trust-engine" in caught.value.hint
        assert cuda.calls == []

    def test_trusted_it_runs(self, machine: Machine, engine: Path) -> None:
        runtime, trt, cuda = machine()
        artifact = load_artifact(engine)
        assert artifact.spec.labels == load_artifact(TINY).spec.labels
        with runtime.open(artifact, OpenOptions(trust_engine=True, cache=False)) as session:
            assert session.run({"input": IMAGE})["logits"].shape == (1, 3)
            assert session.info().options["trusted"] is True
        assert trt.builds == 0
        assert cuda.faults == []

    def test_one_without_a_file_beside_it_runs_too(self, machine: Machine, engine: Path) -> None:
        note_path(engine).unlink()
        runtime, _, _ = machine()
        with runtime.open(load_artifact(engine), OpenOptions(trust_engine=True)) as session:
            assert [spec.name for spec in session.inputs] == ["input"]
            assert session.run({"input": IMAGE})["logits"].shape == (1, 3)

    def test_one_of_another_version_is_said(self, machine: Machine, engine: Path) -> None:
        runtime, _, _ = machine("10.3.0")
        with pytest.raises(RuntimeUnavailable, match=r"TensorRT 11\.4\.0\.106, here 10\.3\.0") as caught:
            runtime.open(load_artifact(engine), OpenOptions(trust_engine=True))
        assert "tiny.onnx beside it" in caught.value.hint

    def test_one_of_another_version_is_built_again_from_its_model(
        self, machine: Machine, engine: Path, options: OpenOptions
    ) -> None:
        runtime, trt, _ = machine("10.3.0")
        engine.with_name("tiny.onnx").write_bytes(TINY.read_bytes())
        trusting = OpenOptions(trust_engine=True, cache_folder=options.cache_folder)
        with runtime.open(load_artifact(engine), trusting) as session:
            assert session.info().options["engine_from"] == "build"
        assert trt.builds == 1
        # Another model under that name is not it.
        engine.with_name("tiny.onnx").write_bytes(TINY_BATCH1.read_bytes())
        with pytest.raises(RuntimeUnavailable, match="was not built for this machine"):
            runtime.open(load_artifact(engine), trusting)

    def test_one_that_tensorrt_does_not_load_is_said(self, machine: Machine, tmp_path: Path) -> None:
        runtime, _, _ = machine()
        (tmp_path / "x.engine").write_bytes(b"garbage")
        with pytest.raises(RuntimeUnavailable, match="magicTag"):
            runtime.open(load_artifact(tmp_path / "x.engine"), OpenOptions(trust_engine=True))


def test_the_key_has_all_that_an_engine_depends_on(machine: Machine, tmp_path: Path) -> None:
    _, trt, cuda = machine()
    device = probe(cuda)
    build = BuildOptions(max_batch=8, opt_batch=8, workspace_bytes=1 << 30)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
    key = engine_key(trt, device, "ab" * 32, build, root=tmp_path)
    assert json.loads(json.dumps(key)) == key
    assert key["model_sha256"] == "ab" * 32
    assert (key["flavour"], key["version"]) == ("tensorrt", "11.4.0.106")
    assert (key["gpu"], key["compute_capability"]) == (device.name, "{}.{}".format(*device.compute_capability))
    assert key["multiprocessors"] == device.multiprocessors
    assert (key["driver_cuda"], key["cuda_runtime"]) == (device.driver_version, device.runtime_version)
    assert key["l4t"] == "R36.4.3"
    assert key["build"]["max_batch"] == 8
    here = machine_key(trt, device, root=tmp_path)
    assert differences(key, here) == ""
    assert differences({**key, "gpu": "NVIDIA L4"}, here) == f"GPU NVIDIA L4, here {device.name}"
    assert "processor none" in differences({}, here)


def test_a_runtime_lives_as_long_as_its_engine(machine: Machine, options: OpenOptions) -> None:
    runtime, trt, cuda = machine()
    probe(cuda)
    runtime.open(load_artifact(TINY), options).close()
    assert options.cache_folder is not None
    (entry,) = [one for one in Cache(options.cache_folder).entries() if one.name == "network.engine"]
    engine, owner = deserialize(trt, entry.path.read_bytes())
    assert engine is not None
    assert owner is not None


def _open_and_count(folder: Path, barrier: Any, builds: Any) -> None:
    cuda = FakeCudart()
    trt = FakeTensorRT(cuda)
    sys.modules["tensorrt"] = trt  # type: ignore[assignment]
    barrier.wait()
    TrtRuntime(cudart=cuda).open(load_artifact(TINY), OpenOptions(cache_folder=folder)).close()
    with builds.get_lock():
        builds.value += trt.builds


@pytest.mark.slow
def test_ten_processes_build_an_engine_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, builds = context.Barrier(10), context.Value("i", 0)
    workers = [context.Process(target=_open_and_count, args=(tmp_path / "kept", barrier, builds)) for _ in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 10
    assert builds.value == 1
