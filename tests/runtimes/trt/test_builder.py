"""Building with TensorRT's own parser and builder, in TensorRT for RTX, which needs no GPU for it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, ModelError, RuntimeUnavailable
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.trt.builder import build_plan
from edgecnn.runtimes.trt.engines import EngineSource, deserialize
from edgecnn.runtimes.trt.logger import engine_logger, last_errors
from edgecnn.runtimes.trt.options import BuildOptions, build_options
from edgecnn.runtimes.trt.package import load_trt
from edgecnn.testing.models import TINY, TINY_BATCH1

pytestmark = pytest.mark.trt_build

RANGE = BuildOptions(max_batch=8, opt_batch=4, workspace_bytes=1 << 28)

GPU = CudaDevice(
    ordinal=0,
    name="NVIDIA GeForce RTX 4090",
    compute_capability=(8, 9),
    multiprocessors=128,
    memory_bytes=24 << 30,
    integrated=False,
    pci_bus_id="0000:01:00.0",
    driver_version="13.0",
    runtime_version="13.0",
)


@pytest.fixture(scope="module")
def trt() -> Any:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    return load_trt("tensorrt_rtx")


def source(trt: Any, folder: Path) -> EngineSource:
    return EngineSource(trt, GPU, TINY, "ab" * 32, RANGE, cache=Cache(folder))


def test_a_range_of_batches_and_a_fixed_one(trt: Any) -> None:
    ranged = build_plan(trt, TINY, RANGE)
    fixed = build_plan(trt, TINY_BATCH1, build_options(load_artifact(TINY_BATCH1), OpenOptions()))
    assert len(ranged.plan) > 1000
    assert len(fixed.plan) > 1000
    assert ranged.layers >= 5
    assert ranged.build_ns > 0
    assert ranged.warnings == ()


@pytest.mark.parametrize(("level", "verbosity", "tf32"), [(0, "none", True), (5, "layer_names_only", False)])
def test_every_option_is_taken(trt: Any, level: int, verbosity: Any, tf32: bool) -> None:
    chosen = replace(RANGE, optimization_level=level, profiling_verbosity=verbosity, tf32=tf32)
    assert build_plan(trt, TINY, chosen).plan


def test_the_configuration_is_what_was_asked_for(trt: Any) -> None:
    from edgecnn.runtimes.trt import builder

    engine_builder = trt.Builder(engine_logger(trt))
    config = builder._config(trt, engine_builder, replace(RANGE, optimization_level=4))
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 1 << 28
    assert config.builder_optimization_level == 4
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert not config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    assert builder._config(trt, engine_builder, replace(RANGE, tf32=True)).get_flag(trt.BuilderFlag.TF32)
    network, _ = builder._parsed_network(trt, engine_builder, TINY)
    assert network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


@pytest.mark.parametrize(("most", "best"), [(2, 4), (0, 0)])
def test_ranges_that_cannot_be_are_bad_input(trt: Any, most: int, best: int) -> None:
    if most:
        with pytest.raises(BadInput, match="range of batches"):
            build_plan(trt, TINY, replace(RANGE, max_batch=most, opt_batch=best))
    else:  # nothing asked for is a batch of 1
        assert build_plan(trt, TINY, replace(RANGE, max_batch=None, opt_batch=None)).plan


def test_a_free_size_besides_the_batch_is_named(trt: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for index, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    path = tmp_path / "free.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=r"input input of shape \[-1, 1, -1, -1\] has a free size"):
        build_plan(trt, path, RANGE)


def test_parser_errors_name_node_and_operator(trt: Any, tmp_path: Path) -> None:
    path = tmp_path / "unknown.onnx"
    path.write_bytes(TINY.read_bytes().replace(b"GlobalAveragePool", b"GlobalUnknownPool"))
    with pytest.raises(BadInput, match=r"node \w+ \(GlobalUnknownPool\): .*Plugin not found") as caught:
        build_plan(trt, path, RANGE)
    assert "\n" not in str(caught.value)


def test_mixed_types_are_said(trt: Any, tmp_path: Path) -> None:
    """A strongly typed network takes the file's types as they are: float16 weights on a float32 image are an error."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for tensor in model.graph.initializer:
        if tensor.name == "conv1.weight":
            array = onnx.numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    path = tmp_path / "mixed.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match=r"\(Conv\)"):
        build_plan(trt, path, RANGE)


def test_no_room_to_work_is_a_model_error(trt: Any) -> None:
    with pytest.raises(ModelError, match="workspace") as caught:
        build_plan(trt, TINY_BATCH1, BuildOptions(max_batch=None, opt_batch=None, workspace_bytes=1 << 20))
    assert "workspace_mib" in caught.value.hint


def test_damaged_files_are_bad_input(trt: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for content in (b"", b"hello", TINY.read_bytes()[:-200]):
        path.write_bytes(content)
        with pytest.raises(BadInput):
            build_plan(trt, path, RANGE)


def test_progress_counts_up_and_stops_a_build(trt: Any) -> None:
    told: list[tuple[str, int, int]] = []
    build_plan(trt, TINY, RANGE, progress=lambda *step: told.append(step))
    phases = {name for name, _, _ in told}
    assert len(phases) > 3
    for phase in phases:
        done = [steps for name, steps, _ in told if name == phase]
        assert done[0] == 0
    assert all(0 <= done <= of for _, done, of in told)

    def stop(name: str, done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(trt, TINY, RANGE, progress=stop)
    assert build_plan(trt, TINY, RANGE).plan


def _build_until_interrupted(folder: Path, started: Any) -> None:
    trt = load_trt("tensorrt_rtx")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while True:
            build_plan(trt, TINY, RANGE, progress=lambda *step: started.set())
    except KeyboardInterrupt:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert build_plan(trt, TINY, RANGE).plan
        os._exit(42)


def test_an_interruption_from_the_keyboard_ends_a_build(trt: Any, tmp_path: Path) -> None:
    """At any moment, inside TensorRT's callbacks as well: an exception there would end the process."""
    context = multiprocessing.get_context("spawn")
    for turn in range(4):
        started = context.Event()
        worker = context.Process(target=_build_until_interrupted, args=(tmp_path, started))
        worker.start()
        assert started.wait(60)
        time.sleep(0.023 * turn)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
        worker.join(60)
        assert worker.exitcode == 42


def test_what_does_not_load_gives_a_reason(trt: Any) -> None:
    for plan, words in ((b"", "empty memory buffer"), (b"garbage" * 100, "kEXPECTED_MAGIC_TAG")):
        engine, _ = deserialize(trt, plan)
        assert engine is None
        assert words in last_errors(trt)


def test_an_engine_is_kept_with_its_key(trt: Any, tmp_path: Path) -> None:
    plan, facts = source(trt, tmp_path / "kept").plan()
    again, nothing = source(trt, tmp_path / "kept").plan()
    assert plan == again
    assert facts["build_seconds"]
    assert nothing == {}
    (entry,) = Cache(tmp_path / "kept").entries()  # TensorRT for RTX has no timings to keep
    assert entry.key["flavour"] == "tensorrt_rtx"
    assert entry.key["gpu"] == GPU.name
    assert entry.key["build"]["max_batch"] == 8
    assert entry.size_bytes == len(plan)
    entry.path.write_bytes(plan[:-1])
    rebuilt, facts = source(trt, tmp_path / "kept").plan()
    assert facts["build_seconds"]
    assert len(rebuilt) == len(plan)


def test_an_engine_that_does_not_load_is_not_kept(trt: Any, tmp_path: Path) -> None:
    if deserialize(trt, build_plan(trt, TINY, RANGE).plan)[0] is not None:
        pytest.skip("a GPU is here, which loads it")
    with pytest.raises(RuntimeUnavailable, match="does not load the engine that it has built"):
        source(trt, tmp_path / "kept").load()
    assert Cache(tmp_path / "kept").entries() == ()


def _plan(folder: Path, start: Any, results: Any) -> None:
    start.wait()
    plan, facts = source(load_trt("tensorrt_rtx"), folder).plan()
    results.put((len(plan), bool(facts)))


def test_ten_processes_build_once(trt: Any, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(10), context.Queue()
    folder = tmp_path / "kept"
    workers = [context.Process(target=_plan, args=(folder, start, results)) for _ in range(10)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert len({size for size, _ in found}) == 1
    assert sum(built for _, built in found) == 1


def _build_for_ever(folder: Path) -> None:
    trt = load_trt("tensorrt_rtx")
    cache = Cache(folder)
    while True:
        source(trt, folder).plan()
        cache.drop(source(trt, folder).key)


def test_a_killed_build_leaves_a_cache_that_works(trt: Any, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "kept"
    wanted = len(build_plan(trt, TINY, RANGE).plan)
    for turn in range(4):
        worker = context.Process(target=_build_for_ever, args=(folder,))
        worker.start()
        deadline = time.monotonic() + 60
        while not list(folder.glob("*.lock")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1 + 0.07 * turn)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        plan, _ = source(trt, folder).plan()
        assert abs(len(plan) - wanted) < wanted // 10
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        Cache(folder).drop(source(trt, folder).key)
