"""Every backend with every field of OpenOptions: followed, or refused, and nothing in silence.

GPU backends run over stand-ins for the engine, which are asked what arrived there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes import PLUGINS, OpenOptions, Session, get_runtime
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.presets import PRESETS, preset_options
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.fakegpu import FAKE_GPU as GPU
from edgecnn.testing.fakeort import FakeOrt
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.models import TINY

YES, NO, MAY = "followed", "refused", "a permission or a promise: without effect where it is not needed"

# What is asked for -> what each backend does with it.
ASKED = (
    "threads",
    "spinning",
    "arena",
    "allow_fallback",
    "max_batch",
    "cache",
    "no cache",
    "cache_folder",
    "trust_engine",
)
TABLE = {
    "cpu": (YES, YES, YES, MAY, MAY, YES, YES, YES, NO),
    "openvino": (YES, NO, NO, NO, MAY, NO, YES, NO, NO),
    "cuda": (YES, YES, NO, MAY, YES, NO, YES, NO, NO),
    "ort-trt": (YES, YES, NO, MAY, YES, YES, YES, YES, NO),
    "trt": (NO, NO, NO, MAY, YES, YES, YES, YES, MAY),
    "torch": (YES, NO, NO, NO, MAY, NO, YES, NO, NO),
    "null": (YES, YES, YES, MAY, MAY, NO, YES, NO, NO),
    "ort:CPUExecutionProvider": (YES, YES, YES, MAY, MAY, NO, YES, NO, NO),
}
ENGINES = {"cpu": "onnxruntime", "openvino": "openvino", "torch": "torch", "ort:CPUExecutionProvider": "onnxruntime"}


class Machine:
    """This machine, with a stand-in for the GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.ort = FakeOrt(folder)
        self.cuda = FakeCudart()
        self.trt = FakeTensorRT(self.cuda)
        self.cache = folder / "cache" / "edgecnn" / "runtimes"
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", self.cuda)
        monkeypatch.setitem(sys.modules, "tensorrt", self.trt)
        for module in ("cuda", "ort_trt"):
            monkeypatch.setattr(f"edgecnn.runtimes.{module}.check_gpu", self._check_gpu)

    def _check_gpu(self, provider: str, *, backend: str, ordinal: int = 0) -> tuple[FakeOrt, CudaDevice]:
        return self.ort, replace(GPU, ordinal=ordinal)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@contextmanager
def opened(backend: str, options: OpenOptions) -> Iterator[Session]:
    if backend in ENGINES:
        pytest.importorskip(ENGINES[backend])
    if backend == "torch":
        pytest.importorskip("onnx")
    with get_runtime(backend).open(load_artifact(TINY), options) as session:
        yield session


def options_for(asked: str, folder: Path) -> OpenOptions:
    return {
        "threads": OpenOptions(threads=1),
        "spinning": OpenOptions(spinning=False),
        "arena": OpenOptions(arena=False),
        "allow_fallback": OpenOptions(allow_fallback=True),
        "max_batch": OpenOptions(max_batch=5),
        "cache": OpenOptions(cache=True),
        "no cache": OpenOptions(cache=False),
        "cache_folder": OpenOptions(cache_folder=folder),
        "trust_engine": OpenOptions(trust_engine=True),
    }[asked]


def test_the_table_has_every_backend_and_every_field() -> None:
    builtin = {name for name in PLUGINS.names() if name in PLUGINS._builtins}
    assert builtin <= set(TABLE)
    asked = {name.replace("no cache", "cache") for name in ASKED}
    assert asked == {field.name for field in fields(OpenOptions)} - {"engine"}
    assert {len(row) for row in TABLE.values()} == {len(ASKED)}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("backend", TABLE)
def test_an_option_is_followed_or_refused(backend: str, asked: str, machine: Machine, tmp_path: Path) -> None:
    wanted = TABLE[backend][ASKED.index(asked)]
    options = options_for(asked, tmp_path / "given")
    if (backend, asked) == ("cpu", "cache_folder"):  # whose cache is off unless it is asked for
        options = replace(options, cache=True)
    if wanted == NO:
        with pytest.raises(Contradiction, match=f"^backend {backend} cannot honour {asked}="), opened(backend, options):
            pass
        return
    with opened(backend, options) as session:
        if wanted == YES:
            assert FOLLOWED[asked](backend, session, machine, tmp_path / "given")


def _kept(folder: Path) -> int:
    return len(Cache(folder).entries())


def _threads(backend: str, session: Session, machine: Machine, folder: Path) -> bool:
    arrived = machine.ort.sessions[-1].sess_options.intra_op_num_threads if machine.ort.sessions else 1
    return session.info().threads == arrived == 1


def _told(name: str, value: object) -> Callable[..., bool]:
    def followed(backend: str, session: Session, machine: Machine, folder: Path) -> bool:
        if machine.ort.sessions:
            assert machine.ort.sessions[-1].sess_options.entries["session.intra_op.allow_spinning"] == "0"
        return session.info().options[name] == value

    return followed


def _max_batch(backend: str, session: Session, machine: Machine, folder: Path) -> bool:
    if backend == "cuda":  # warm for it
        return 5 in {call[3][0] for call in machine.ort.calls if call[0] == "allocate"}
    if backend == "ort-trt":
        return ":5x1x8x8" in machine.ort.sessions[-1].options["TensorrtExecutionProvider"]["trt_profile_max_shapes"]
    return session.info().options["max_batch"] == 5


FOLLOWED: dict[str, Callable[[str, Session, Machine, Path], bool]] = {
    "threads": _threads,
    "spinning": _told("spinning", False),
    "arena": _told("arena", False),
    "max_batch": _max_batch,
    "cache": lambda backend, session, machine, folder: _kept(machine.cache) > 0,
    "no cache": lambda backend, session, machine, folder: not machine.cache.exists(),
    "cache_folder": lambda backend, session, machine, folder: _kept(folder) > 0 and not machine.cache.exists(),
}


@pytest.mark.parametrize("backend", TABLE)
@pytest.mark.parametrize("key", ["no_such_option", "threads", "session.intra_op.allow_spinnning"])
def test_an_engine_option_that_is_unknown_is_named(backend: str, key: str, machine: Machine) -> None:
    with pytest.raises((UnknownName, Contradiction), match=key), opened(backend, OpenOptions(engine={key: 1})):
        pass


PRESET_BACKENDS = {
    "latency": set(TABLE),
    "embedded": {"cpu"},
    "shared": {"cpu", "cuda", "ort-trt", "null", "ort:CPUExecutionProvider"},
}


def test_openvino_says_that_it_takes_fewer_threads_than_were_asked_for() -> None:
    with (
        pytest.raises(Contradiction, match="cannot honour threads=1024: it takes "),
        opened("openvino", OpenOptions(threads=1024)),
    ):
        pass


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backend", TABLE)
def test_a_preset_is_followed_as_a_whole_or_refused(backend: str, preset: str, machine: Machine) -> None:
    options = preset_options(preset)
    if backend in PRESET_BACKENDS[preset]:
        with opened(backend, options) as session:
            assert options.threads in (None, session.info().threads)
    else:
        with pytest.raises(Contradiction, match="cannot honour"), opened(backend, options):
            pass


@pytest.mark.parametrize("backend", ["cpu", "ort-trt", "trt"])
def test_a_folder_for_no_cache_is_refused(backend: str, machine: Machine, tmp_path: Path) -> None:
    options = OpenOptions(cache=False, cache_folder=tmp_path)
    with (
        pytest.raises(Contradiction, match="cache=False and cache_folder exclude each other"),
        opened(backend, options),
    ):
        pass


def test_a_gpu_has_no_threads_and_the_hint_says_where_to_look(machine: Machine) -> None:
    with pytest.raises(Contradiction) as caught, opened("trt", OpenOptions(threads=2)):
        pass
    assert str(caught.value) == "backend trt cannot honour threads=2 (leave it out, or take backend cpu)"
    with opened("trt", OpenOptions()) as session:
        assert session.info().threads is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 0),
        ("threads", 1.5),
        ("threads", True),
        ("spinning", 1),
        ("arena", None),
        ("allow_fallback", "yes"),
        ("trust_engine", 1),
        ("max_batch", 0),
        ("cache", "yes"),
        ("cache", 1),
        ("cache_folder", "here"),
        ("engine", [("a", 1)]),
        ("engine", None),
    ],
)
def test_values_that_cannot_be_are_refused_at_once(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"^{name}: expected "):
        OpenOptions(**{name: value})  # type: ignore[arg-type]


def test_any_mapping_holds_engine_options() -> None:
    assert OpenOptions(engine=MappingProxyType({"delay_us": 1})).engine["delay_us"] == 1


def test_an_engine_that_is_gone_between_looking_and_reading_is_built_again(machine: Machine, tmp_path: Path) -> None:
    """As when another process makes room in the cache just then."""
    with opened("trt", OpenOptions(cache_folder=tmp_path / "kept")):
        pass

    class Vanishing(Cache):
        def get_or_make(self, key: Any, name: str, make: Any) -> Path:
            path = super().get_or_make(key, name, make)
            if self.vanish:
                self.vanish = False
                path.unlink()
            return path

        vanish = True

    from edgecnn.runtimes.trt.engines import EngineSource
    from edgecnn.runtimes.trt.options import build_options

    artifact = load_artifact(TINY)
    source = EngineSource(
        machine.trt,
        GPU,
        TINY,
        artifact.sha256,
        build_options(artifact, OpenOptions()),
        cache=Vanishing(tmp_path / "kept"),
    )
    plan, facts = source.plan()
    assert plan
    assert facts["build_warnings"] == 0
