"""The suite that every backend passes, built in or from another package.

    pytest --pyargs edgecnn.testing.conformance --backend NAME

It needs pytest, numpy and the backend's own packages. The run ends with one line where the backend cannot run here,
because nothing would be tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import (
    BadInput,
    Contradiction,
    EdgecnnError,
    MissingDependency,
    RuntimeUnavailable,
    UnavailableError,
    UsageError,
)
from edgecnn.runtimes import OpenOptions, Runtime, Session, get_runtime, open_session
from edgecnn.specs import Artifact
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8, TINY_TRT_INT8, read_reference


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend under test."""
    name: str = request.config.getoption("--backend")
    return name


@pytest.fixture
def runtime(backend: str) -> Runtime:
    """The backend under test, able to run here."""
    runtime = get_runtime(backend)
    try:
        runtime.check()
    except UnavailableError as error:
        pytest.skip(str(error))
    except MissingDependency as error:
        pytest.skip(str(error))
    return runtime


@pytest.fixture
def session(runtime: Runtime) -> Iterator[Session]:
    """The fp32 test model, open with one thread, for batches up to 1280."""
    with _opened(runtime, TINY, max_batch=1280) as session:
        yield session


def _opened(runtime: Runtime, path: Path, *, max_batch: int | None = None) -> Session:
    """Return a session of one thread, where the backend has a choice of them."""
    artifact = load_artifact(path)
    try:
        return runtime.open(artifact, OpenOptions(threads=1, max_batch=max_batch))
    except Contradiction:
        return runtime.open(artifact, OpenOptions(max_batch=max_batch))


def computes(runtime: Runtime) -> None:
    """Skip a test of numbers for the backend that answers with zeros on purpose."""
    if runtime.name == "null":
        pytest.skip("backend null does not compute")


def test_check_returns_or_says_why(backend: str) -> None:
    """`check` returns None or raises an error with a reason and a fix."""
    try:
        get_runtime(backend).check()
    except (RuntimeUnavailable, MissingDependency) as error:
        assert error.message and error.hint


def test_name_is_the_registered_name(runtime: Runtime, backend: str) -> None:
    """What the backend calls itself is what users type."""
    assert runtime.name == backend
    assert runtime.formats


def test_inputs_and_outputs_are_the_graphs(session: Session) -> None:
    """Names, types and symbolic shapes are those of the file."""
    spec = load_artifact(TINY).spec
    assert session.inputs == spec.inputs
    assert session.outputs == spec.outputs


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_fp32_equals_the_reference(runtime: Runtime, session: Session, batch: int) -> None:
    """Any batch gives the reference's outputs."""
    computes(runtime)
    stored = read_reference()
    answer = session.run({"input": stored["input"][:batch]})
    assert list(answer) == ["logits"]
    np.testing.assert_allclose(answer["logits"], stored["logits"][:batch], rtol=1e-4, atol=1e-5)


def test_a_large_batch_equals_the_reference(runtime: Runtime, session: Session) -> None:
    """An engine may take another way for more than a few KiB; it gives the same, also when it is asked again."""
    computes(runtime)
    stored = read_reference()
    images, wanted = np.tile(stored["input"], (80, 1, 1, 1)), np.tile(stored["logits"], (80, 1))
    for _ in range(3):
        np.testing.assert_allclose(session.run({"input": images})["logits"], wanted, rtol=1e-4, atol=1e-5)


def test_shapes_may_alternate(runtime: Runtime, session: Session) -> None:
    """A run of one batch size leaves nothing behind that a run of another would see."""
    computes(runtime)
    stored = read_reference()
    for batch in (1, 3, 1, 1, 2, 16, 3, 1, 5, 6, 7, 8, 1, 3, 3):
        answer = session.run({"input": stored["input"][:batch]})["logits"]
        np.testing.assert_allclose(answer, stored["logits"][:batch], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 1280], ids=["small", "large"])
def test_foreign_byte_order_is_bad_input(session: Session, batch: int) -> None:
    """Also after a native array of the same shape; its bytes would be taken for other numbers."""
    images = np.ones((batch, 1, 8, 8), np.float32)
    for _ in range(2):
        session.run({"input": images})
        with pytest.raises(BadInput):
            session.run({"input": images.astype(images.dtype.newbyteorder("S"))})


def test_int8_equals_the_reference(runtime: Runtime) -> None:
    """Integer arithmetic has one right answer, up to one step of the output's scale.

    There are two forms of int8 files; an engine that computes only one of them rightly refuses the other.
    """
    computes(runtime)
    stored = read_reference()
    answered = 0
    for path, form in ((TINY_INT8, "int8"), (TINY_TRT_INT8, "trt_int8")):
        try:
            session = _opened(runtime, path, max_batch=16)
        except BadInput:
            continue
        with session:
            answer = session.run({"input": stored["input"]})["logits"]
        assert np.abs(answer - stored[f"{form}_logits"]).max() <= 1.01 * float(stored[f"{form}_step"])
        answered += 1
    assert answered


def test_answers_belong_to_the_caller(session: Session) -> None:
    """A later run does not change an earlier answer."""
    first_input = read_reference()["input"][:1]
    first = session.run({"input": first_input})["logits"]
    kept = first.copy()
    second = session.run({"input": first_input + 1})["logits"]
    assert second is not first
    np.testing.assert_array_equal(first, kept)


def test_a_run_does_not_change_its_input(session: Session) -> None:
    """Inputs are read only."""
    images = read_reference()["input"][:2].copy()
    session.run({"input": images})
    np.testing.assert_array_equal(images, read_reference()["input"][:2])


def test_memory_layout_does_not_matter(runtime: Runtime, session: Session) -> None:
    """A strided view gives the same answer as its copy."""
    images = read_reference()["input"][:4]
    strided = np.asfortranarray(images)
    np.testing.assert_array_equal(session.run({"input": strided})["logits"], session.run({"input": images})["logits"])


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"other": np.zeros((1, 1, 8, 8), np.float32)},
        {"input": np.zeros((1, 1, 8, 8), np.float32), "more": np.zeros(1, np.float32)},
        {"input": np.zeros((1, 1, 8, 8), np.float64)},
        {"input": np.zeros((1, 1, 8, 8), np.uint8)},
        {"input": np.zeros((1, 1, 8, 9), np.float32)},
        {"input": np.zeros((1, 8, 8), np.float32)},
        {"input": np.zeros((0, 1, 8, 8), np.float32)},
        {"input": [[0.0]]},
        np.zeros((1, 1, 8, 8), np.float32),
        [np.zeros((1, 1, 8, 8), np.float32)],
        None,
    ],
    ids=[
        *("none", "unknown", "extra", "float64", "uint8", "shape", "rank", "empty", "list"),
        *("array alone", "list of arrays", "nothing"),
    ],
)
def test_bad_feeds_are_bad_input(session: Session, feeds: object) -> None:
    """What does not fit is refused before the engine sees it, and the session lives on."""
    with pytest.raises(BadInput):
        session.run(feeds)  # type: ignore[arg-type]
    assert session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})["logits"].shape == (1, 3)


def test_a_fixed_batch_is_kept(runtime: Runtime) -> None:
    """A file exported for one image refuses two."""
    with runtime.open(load_artifact(TINY_BATCH1), OpenOptions()) as session:
        assert session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})["logits"].shape == (1, 3)
        with pytest.raises(BadInput):
            session.run({"input": np.zeros((2, 1, 8, 8), np.float32)})


def test_info_tells_what_runs(session: Session, backend: str) -> None:
    """Engine, version, providers asked and active, threads."""
    info = session.info()
    assert info.backend == backend
    assert info.engine and info.engine_version
    assert info.providers_asked
    assert info.providers_active[: len(info.providers_asked)] == info.providers_asked
    assert info.threads in (1, None)


def test_closed_sessions_refuse(runtime: Runtime) -> None:
    """Run and info after close are programming errors; closing twice is not."""
    session = runtime.open(load_artifact(TINY), OpenOptions())
    session.close()
    session.close()
    with pytest.raises(RuntimeError):
        session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})
    with pytest.raises(RuntimeError):
        session.info()


def test_closing_during_runs_is_no_other_error(runtime: Runtime) -> None:
    """A run that another thread's close overtakes gives its answer or the RuntimeError of a closed session."""
    images = read_reference()["input"][:1]
    wrong: list[Exception] = []

    def work(session: Session) -> None:
        try:
            while True:
                session.run({"input": images})
                session.info()
        except Exception as error:
            if type(error) is not RuntimeError:
                wrong.append(error)

    for _ in range(10):
        session = _opened(runtime, TINY)
        workers = [threading.Thread(target=work, args=(session,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        session.close()
        for worker in workers:
            worker.join()
    assert not wrong


def test_threads_share_a_session(runtime: Runtime, session: Session) -> None:
    """Eight threads get the answers that one thread gets, bit for bit."""
    images = read_reference()["input"]
    wanted = [session.run({"input": images[i : i + 1]})["logits"] for i in range(len(images))]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for step in range(50):
            i = (step + offset) % len(images)
            if not np.array_equal(session.run({"input": images[i : i + 1]})["logits"], wanted[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_damaged_files_are_bad_input(runtime: Runtime, tmp_path: Path) -> None:
    """What changed after it was looked at: missing, empty, cut, foreign; never the engine's own exception."""
    whole = TINY.read_bytes()
    artifact = load_artifact(TINY)
    for name, content in {
        "empty": b"",
        "cut": whole[:-200],
        "half": whole[: len(whole) // 2],
        "text": b"hello",
        "unknown operator of opset 18": whole.replace(b"GlobalAveragePool", b"GlobalUnknownPool"),
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        assert content != whole
        _refuses(runtime, replace(artifact, path=path))
    _refuses(runtime, replace(artifact, path=tmp_path / "missing.onnx"))


def _refuses(runtime: Runtime, artifact: Artifact) -> None:
    if runtime.name == "null":
        pytest.skip("backend null does not read the file")
    with pytest.raises(BadInput):
        runtime.open(artifact, OpenOptions())


@pytest.mark.parametrize("key", ["no_such_option", "sesion.intra_op.allow_spinning", "session.no_such_entry"])
def test_unknown_engine_options_are_refused(runtime: Runtime, key: str) -> None:
    """An option that the engine does not have is never passed over in silence."""
    with pytest.raises(UsageError):
        runtime.open(load_artifact(TINY), OpenOptions(engine={key: 0}))


@pytest.mark.parametrize("field", ["threads", "spinning", "arena", "cache", "cache_folder", "trust_engine"])
def test_an_option_is_followed_or_refused(runtime: Runtime, field: str, tmp_path: Path) -> None:
    """Whatever is asked for, the answer is a session or a `Contradiction`; threads that are taken are told."""
    values = {"threads": 2, "cache": True, "cache_folder": tmp_path / "cache", "trust_engine": True}
    options = OpenOptions(**{field: values.get(field, False)})  # type: ignore[arg-type]
    if field == "cache":
        options = replace(options, cache_folder=tmp_path / "cache")
    try:
        session = runtime.open(load_artifact(TINY), options)
    except Contradiction:
        return
    with session:
        assert field != "threads" or session.info().threads == 2


def test_the_environment_stays_as_it_is(runtime: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed and no environment variable changes."""
    before = dict(os.environ)
    with runtime.open(load_artifact(TINY), OpenOptions()) as session:
        session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def test_classify_through_the_public_door(runtime: Runtime, backend: str) -> None:
    """`edgecnn.load` works with this backend and labels its answers."""
    with edgecnn.load(TINY, backend=backend) as classifier:
        best = classifier.classify(np.zeros((20, 30, 3), np.uint8), top=2)
        assert len(best) == 2
        assert {one.label for one in best} <= {"square", "disc", "cross"}
        assert 0 <= best[1].probability <= best[0].probability <= 1
        with pytest.raises(BadInput):
            classifier.classify(np.zeros((20, 30, 3), np.float32))


def test_unknown_backends_are_named(backend: str) -> None:
    """A misspelt name lists the right one."""
    with pytest.raises(EdgecnnError, match=backend):
        open_session(load_artifact(TINY), backend=backend + "x")


def test_importing_the_backend_is_light(runtime: Runtime) -> None:
    """Naming the backend imports neither torch nor onnx."""
    code = (
        "import sys, edgecnn.runtimes as r; r.get_runtime(sys.argv[1]);"
        "assert not {'torch', 'onnx'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code, runtime.name], check=True)
