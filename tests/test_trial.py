"""Files are tried in a child process: what crashes, hangs or goes mad there is a BadInput here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import edgecnn
from edgecnn import trial as trial_module
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, EdgecnnError, UnavailableError
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.cache import Cache
from edgecnn.seal import SEAL_BYTES
from edgecnn.testing.models import TINY
from edgecnn.trial import Trial, try_first

# A backend that does what the file's name says; it is imported by children alone.
BACKEND = """
import ctypes, os, signal, sys, time
from edgecnn.errors import Contradiction, InferenceError
from edgecnn.runtimes.null import NullRuntime, _NullSession


class Wild(NullRuntime):
    name = "wild"

    def open(self, artifact, options):
        word = artifact.path.stem
        with open(artifact.path.parent / "opened.txt", "a") as log:
            log.write(f"{word} {os.getpid()}\\n")
        if word == "segfault":
            ctypes.string_at(0)
        if word == "abort":
            os.abort()
        if word == "leaves":
            os._exit(3)
        if word == "hangs":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            time.sleep(600)
        if word == "raises":
            raise ZeroDivisionError("by nothing")
        if word == "contradicts":
            raise Contradiction("an option")
        if word == "prints":
            print("noise"); os.write(1, b'{"refused": "a lie"}\\n')
        if word == "greedy":
            bytearray(1 << 42)
        return WildSession(artifact, options, 0.0)


class WildSession(_NullSession):
    def _run(self, feeds):
        word = sys.argv[-1]
        log = [line.split()[0] for line in open(os.environ["WILD_LOG"])]
        if log[-1] == "crashes-in-its-run":
            os.kill(os.getpid(), signal.SIGBUS)
        if log[-1] == "fails-in-its-run":
            raise InferenceError("no")
        if log[-1] == "poisons":
            globals()["poisoned"] = True
        elif globals().get("poisoned"):
            os.abort()
        return super()._run(feeds)
"""


@pytest.fixture
def wild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with the backend `wild`; the folder for its files."""
    site = tmp_path / "site"
    info = site / "wild-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "wild_backend.py").write_text(BACKEND)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wild\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgecnn.runtimes]\nwild = wild_backend:Wild\n")
    monkeypatch.syspath_prepend(site)
    (tmp_path / "opened.txt").touch()
    monkeypatch.setenv("WILD_LOG", str(tmp_path / "opened.txt"))
    return tmp_path


def _file(folder: Path, word: str) -> Path:
    path = folder / f"{word}.onnx"
    path.write_bytes(TINY.read_bytes())
    return path


def _openings(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "opened.txt").read_text().splitlines()]


def test_a_wild_backend_can_behave(wild: Path) -> None:
    with Trial("wild") as trial:
        for _ in range(3):
            trial.try_file(_file(wild, "fine"))
    (first, *others) = [pid for _, pid in _openings(wild)]
    assert others == [first, first], "one child for all"
    assert first != str(os.getpid())


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("segfault", r"the engine crashed on .*segfault.onnx \(signal 11, SIGSEGV\)"),
        pytest.param("abort", r"the engine crashed on .*abort.onnx \(signal 6, SIGABRT\)", marks=pytest.mark.slow),
        pytest.param("leaves", r"the engine crashed on .*leaves.onnx \(exit status 3\)", marks=pytest.mark.slow),
        pytest.param("crashes-in-its-run", r"the engine crashed on .* \(signal 7, SIGBUS\)", marks=pytest.mark.slow),
        pytest.param("raises", "cannot be opened: ZeroDivisionError: by nothing", marks=pytest.mark.slow),
        pytest.param("greedy", "cannot be opened: MemoryError", marks=pytest.mark.slow),
        ("fails-in-its-run", "opens but does not run on zeros: no"),
    ],
)
def test_what_goes_wrong_in_the_child_is_bad_input_here(wild: Path, word: str, message: str) -> None:
    with Trial("wild") as trial:
        with pytest.raises(BadInput, match=message) as caught:
            trial.try_file(_file(wild, word))
        assert "trusted=True" in caught.value.hint
        trial.try_file(_file(wild, "fine"))


@pytest.mark.slow
def test_a_hang_ends_with_the_time(wild: Path) -> None:
    with Trial("wild", timeout_s=1.0) as trial:
        start = time.monotonic()
        with pytest.raises(BadInput, match=r"hangs.onnx stopped the engine: no answer within 1 s"):
            trial.try_file(_file(wild, "hangs"))
        assert time.monotonic() - start < 30
        ((_, pid),) = _openings(wild)
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
        trial.try_file(_file(wild, "fine"))


def test_what_an_engine_prints_is_no_answer_and_not_seen(wild: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Trial("wild") as trial:
        trial.try_file(_file(wild, "prints"))
    assert capfd.readouterr() == ("", "")


def test_options_are_left_to_the_opening_itself(wild: Path) -> None:
    with Trial("wild") as trial:
        trial.try_file(_file(wild, "contradicts"))


@pytest.mark.slow
def test_a_file_is_not_blamed_for_what_the_one_before_did(wild: Path) -> None:
    with Trial("wild") as trial:
        trial.try_file(_file(wild, "poisons"))
        trial.try_file(_file(wild, "fine"))
    poisoned, wrecked, fresh = [pid for _, pid in _openings(wild)]
    assert poisoned == wrecked != fresh


@pytest.mark.slow
def test_a_child_is_replaced_now_and_then(wild: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_module, "_FILES_PER_CHILD", 2)
    with Trial("wild") as trial:
        for _ in range(5):
            trial.try_file(_file(wild, "fine"))
    first, second, third, fourth, fifth = [pid for _, pid in _openings(wild)]
    assert first == second != third == fourth != fifth


def test_load_with_a_wild_file(wild: Path) -> None:
    path = _file(wild, "segfault")
    with pytest.raises(BadInput, match="crashed on"):
        edgecnn.load(path, backend="wild", trusted=False)
    path.write_bytes(path.read_bytes()[:-SEAL_BYTES])
    with pytest.raises(BadInput, match="crashed on"):
        edgecnn.load(path, backend="wild")
    assert str(os.getpid()) not in {pid for _, pid in _openings(wild)}


# --- when a trial is held


class Counting(Trial):
    """A trial that passes every file and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[Path] = []

    def try_file(self, path: Path) -> None:
        self.tried.append(path)


def _load(path: Path, trial: Trial, *, trusted: bool | None, options: OpenOptions | None = None) -> None:
    from edgecnn.loading import load_with

    pytest.importorskip("onnxruntime")
    load_with(path, backend="cpu", options=options or OpenOptions(), trusted=trusted, trial=trial).close()


def _unsealed(folder: Path) -> Path:
    path = folder / "foreign.onnx"
    path.write_bytes(TINY.read_bytes()[:-26])
    return path


@pytest.mark.parametrize(
    ("sealed", "trusted", "tried"),
    [(True, None, 0), (True, True, 0), (True, False, 1), (False, None, 1), (False, True, 0), (False, False, 1)],
)
def test_who_is_tried(tmp_path: Path, sealed: bool, trusted: bool | None, tried: int) -> None:
    trial = Counting()
    path = TINY if sealed else _unsealed(tmp_path)
    _load(path, trial, trusted=trusted, options=OpenOptions(cache=False))
    assert len(trial.tried) == tried


def test_a_file_that_passed_is_remembered_by_content_and_options(tmp_path: Path) -> None:
    trial, cache = Counting(), tmp_path / "cache"
    path = _unsealed(tmp_path)
    options = OpenOptions(cache_folder=cache, cache=True)
    for count in (1, 1):
        _load(path, trial, trusted=None, options=options)
        assert len(trial.tried) == count
    (entry,) = [one for one in Cache(cache).entries() if one.key.get("kind") == "trial"]
    assert entry.key["backend"] == "cpu"
    assert entry.key["sha256"] == load_artifact(path).sha256
    _load(path.rename(tmp_path / "moved.onnx"), trial, trusted=None, options=options)
    assert len(trial.tried) == 1
    _load(tmp_path / "moved.onnx", trial, trusted=None, options=replace(options, threads=2))
    assert len(trial.tried) == 2
    with (tmp_path / "moved.onnx").open("ab") as file:
        file.write(b"\x10\x00")
    _load(tmp_path / "moved.onnx", trial, trusted=None, options=options)
    assert len(trial.tried) == 3
    _load(tmp_path / "moved.onnx", trial, trusted=None, options=replace(options, cache=False, cache_folder=None))
    assert len(trial.tried) == 4


@pytest.mark.slow
def test_a_file_that_failed_is_not_remembered(wild: Path) -> None:
    for _ in range(2):
        with pytest.raises(BadInput):
            edgecnn.load(_file(wild, "abort"), backend="wild", trusted=False)
    assert len(_openings(wild)) == 2


def test_a_cache_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    trial = Counting()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for count in (1, 2):
        try_first(load_artifact(_unsealed(tmp_path)), "cpu", OpenOptions(cache_folder=shared), trial)
        assert len(trial.tried) == count


def test_backend_null_reads_no_file(tmp_path: Path) -> None:
    trial = Counting()
    try_first(load_artifact(_unsealed(tmp_path)), "null", OpenOptions(), trial)
    assert not trial.tried


def test_without_an_interpreter_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("executable", ""), ("executable", "/nowhere/python"), ("executable", "/bin/true")):
        monkeypatch.setattr(sys, name, value)
        with pytest.raises(UnavailableError) as caught, Trial() as trial:
            trial.try_file(TINY)
        assert "trusted=True" in caught.value.hint


# --- with the real engine


def test_a_foreign_file_passes_and_opens(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with edgecnn.load(_unsealed(tmp_path)) as classifier:
        assert classifier.info().backend == "cpu"


def test_a_damaged_file_is_refused_with_the_engines_words(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "damaged.onnx"
    path.write_bytes(TINY.read_bytes().replace(b"GlobalAveragePool", b"GlobalUnknownPool"))
    with pytest.raises(BadInput, match=r"onnxruntime cannot load .*damaged.onnx"):
        edgecnn.load(path, trusted=False)


def test_a_free_size_is_no_reason_to_refuse(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for index, name in ((2, "H"), (3, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "free.onnx")
    with edgecnn.load(tmp_path / "free.onnx") as classifier:
        assert classifier.inputs[0].shape == ("N", 1, "H", "W")


def test_a_model_of_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40
    onnx.save(model, tmp_path / "huge.onnx")
    with pytest.raises(EdgecnnError):
        edgecnn.load(tmp_path / "huge.onnx")


def test_a_sealed_file_starts_no_child_and_imports_no_trial() -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "import sys, subprocess, edgecnn\n"
        "from edgecnn.testing.models import TINY\n"
        "subprocess.Popen = None\n"
        "edgecnn.load(TINY).close()\n"
        "assert 'edgecnn.trial' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
