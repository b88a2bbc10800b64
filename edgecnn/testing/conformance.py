"""The suite that every backend passes, built in or from another package.

    pytest --pyargs edgecnn.testing.conformance --backend NAME

It needs pytest, numpy and the backend's own packages. A backend that cannot run here is skipped with its reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, EdgecnnError, MissingDependency, RuntimeUnavailable, UnavailableError, UsageError
from edgecnn.runtimes import OpenOptions, Runtime, Session, get_runtime, open_session
from edgecnn.runtimes.base import Array
from edgecnn.testing.models import REFERENCE, TINY, TINY_BATCH1, TINY_INT8


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
    """The fp32 test model, open with one thread."""
    with runtime.open(load_artifact(TINY), OpenOptions(threads=1)) as session:
        yield session


def expected() -> dict[str, Array]:
    """Inputs and the outputs that the ONNX reference implementation gives for them."""
    with np.load(REFERENCE) as stored:
        return dict(stored)


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
    stored = expected()
    answer = session.run({"input": stored["input"][:batch]})
    assert list(answer) == ["logits"]
    np.testing.assert_allclose(answer["logits"], stored["logits"][:batch], rtol=1e-4, atol=1e-5)


def test_int8_equals_the_reference(runtime: Runtime) -> None:
    """Integer arithmetic has one right answer, up to one step of the output's scale."""
    computes(runtime)
    stored = expected()
    with runtime.open(load_artifact(TINY_INT8), OpenOptions(threads=1)) as session:
        answer = session.run({"input": stored["input"]})["logits"]
    step = float(stored["int8_step"])
    assert np.abs(answer - stored["int8_logits"]).max() <= 1.01 * step


def test_answers_belong_to_the_caller(session: Session) -> None:
    """A later run does not change an earlier answer."""
    first_input = expected()["input"][:1]
    first = session.run({"input": first_input})["logits"]
    kept = first.copy()
    second = session.run({"input": first_input + 1})["logits"]
    assert second is not first
    np.testing.assert_array_equal(first, kept)


def test_a_run_does_not_change_its_input(session: Session) -> None:
    """Inputs are read only."""
    images = expected()["input"][:2].copy()
    session.run({"input": images})
    np.testing.assert_array_equal(images, expected()["input"][:2])


def test_memory_layout_does_not_matter(runtime: Runtime, session: Session) -> None:
    """A strided view gives the same answer as its copy."""
    images = expected()["input"][:4]
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
    ],
    ids=["none", "unknown", "extra", "float64", "uint8", "shape", "rank", "empty", "list"],
)
def test_bad_feeds_are_bad_input(session: Session, feeds: dict[str, object]) -> None:
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
    """Run after close is a programming error; closing twice is not."""
    session = runtime.open(load_artifact(TINY), OpenOptions())
    session.close()
    session.close()
    with pytest.raises(RuntimeError):
        session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})


def test_threads_share_a_session(runtime: Runtime, session: Session) -> None:
    """Eight threads get the answers that one thread gets, bit for bit."""
    images = expected()["input"]
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
    """Missing, empty, cut and foreign files raise BadInput, never the engine's own exception."""
    whole = TINY.read_bytes()
    for name, content in {
        "empty": b"",
        "cut": whole[:-200],
        "half": whole[: len(whole) // 2],
        "text": b"hello",
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(BadInput):
            runtime.open(load_artifact(path), OpenOptions())
    with pytest.raises(BadInput):
        load_artifact(tmp_path / "missing.onnx")


def test_unknown_engine_options_are_refused(runtime: Runtime) -> None:
    """An option that the engine does not have is never passed over in silence."""
    with pytest.raises(UsageError):
        runtime.open(load_artifact(TINY), OpenOptions(engine={"no_such_option": 1}))


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
