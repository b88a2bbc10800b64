"""Engines of backend ort-trt between processes: built once, never half, never those of another model, GPU or version."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import RuntimeUnavailable, UnavailableError
from edgecnn.runtimes import OpenOptions, get_runtime
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.testing.fakegpu import FAKE_GPU as GPU
from edgecnn.testing.fakeort import FakeOrt
from edgecnn.testing.models import TINY, TINY_BATCH1


class Builder:
    """TensorRT behind the provider: builds where its folder has no engine, reads what is there, and can fail."""

    def __init__(self) -> None:
        self.built: list[tuple[str, ...]] = []
        self.read = 0
        self.fails = False
        self.damaged = False

    def __call__(self, _: int, options: dict[str, dict[str, str]]) -> Exception | None:
        chosen = options["TensorrtExecutionProvider"]
        assert chosen["trt_engine_cache_enable"] == chosen["trt_timing_cache_enable"] == "1"
        folder = Path(chosen["trt_engine_cache_path"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        engine = folder / "TensorrtExecutionProvider_graph_0_sm90.engine"
        if engine.exists():
            self.read += 1
            return RuntimeError("TensorRT EP could not deserialize engine from cache") if self.damaged else None
        self.built.append(tuple(sorted(path.name for path in folder.iterdir())))
        engine.write_bytes(b"half")
        if self.fails:
            return RuntimeError("TensorRT EP failed to create engine")
        engine.write_bytes(b"whole engine")
        (Path(chosen["trt_timing_cache_path"]) / "TensorrtExecutionProvider_cache_sm90.timing").write_bytes(b"times")
        self.damaged = False
        return None


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def open_one(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Open and close a session; `gpu` replaces the machine's."""
    machine = {"gpu": GPU}
    engine = FakeOrt(tmp_path, refuse=builder)
    monkeypatch.setattr("edgecnn.runtimes.ort_trt.check_gpu", lambda *_, **__: (engine, machine["gpu"]))
    cache = tmp_path / "cache"

    def run(path: Path = TINY, *, gpu: CudaDevice = GPU, **options: object) -> None:
        machine["gpu"] = gpu
        chosen = OpenOptions(cache_folder=cache, **options)  # type: ignore[arg-type]
        get_runtime("ort-trt").open(load_artifact(path), chosen).close()

    yield run


def test_a_second_open_takes_what_the_first_built(builder: Builder, open_one: Callable[..., None]) -> None:
    open_one(max_batch=4)
    assert (len(builder.built), builder.read) == (1, 0)
    open_one(max_batch=4)
    assert (len(builder.built), builder.read) == (1, 1)


def test_whatever_the_engine_depends_on_makes_another(builder: Builder, open_one: Callable[..., None]) -> None:
    open_one()
    open_one(max_batch=2)
    open_one(engine={"trt_builder_optimization_level": 5})
    open_one(TINY_BATCH1)
    open_one(gpu=replace(GPU, driver_version="13.1"))
    open_one(gpu=replace(GPU, compute_capability=(8, 9)))
    assert (len(builder.built), builder.read) == (6, 0)
    open_one()
    assert (len(builder.built), builder.read) == (6, 1)


def test_a_build_that_ends_halfway_leaves_nothing_that_is_taken(
    builder: Builder, open_one: Callable[..., None]
) -> None:
    builder.fails = True
    with pytest.raises(RuntimeUnavailable, match="failed to create engine"):
        open_one()
    builder.fails = False
    open_one()
    assert builder.built == [(), ()]
    assert builder.read == 0


def test_a_damaged_engine_is_built_again_once(builder: Builder, open_one: Callable[..., None]) -> None:
    open_one()
    builder.damaged = True
    open_one()
    assert (len(builder.built), builder.read) == (2, 1)
    open_one()
    assert (len(builder.built), builder.read) == (2, 2)


def test_what_one_build_measured_helps_the_next_on_this_gpu(builder: Builder, open_one: Callable[..., None]) -> None:
    open_one()
    open_one(TINY_BATCH1)
    open_one(gpu=replace(GPU, name="Other GPU"))
    assert builder.built == [(), ("TensorrtExecutionProvider_cache_sm90.timing",), ()]


def test_threads_that_want_the_same_engine_build_it_once(builder: Builder, open_one: Callable[..., None]) -> None:
    workers = [threading.Thread(target=open_one) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(builder.built), builder.read) == (1, 3)


def test_a_folder_that_others_may_write_to_is_refused(
    builder: Builder, open_one: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(UnavailableError, match="others may write"):
        open_one()
    assert not builder.built
