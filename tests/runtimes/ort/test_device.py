"""Bound buffers of a device: on the real engine in host memory, and on a stand-in with a GPU's rules."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, InferenceError
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.ort.device import DeviceOrtSession
from edgecnn.runtimes.ort.session import session_options
from edgecnn.testing.fakeort import FakeOrt
from edgecnn.testing.models import TINY, read_reference

OPTIONS = OpenOptions(threads=1)


def real(path: Path = TINY, *, graphs: bool = False) -> DeviceOrtSession:
    engine = pytest.importorskip("onnxruntime")
    return opened(engine, "CPUExecutionProvider", "cpu", path=path, graphs=graphs)


def opened(engine: Any, provider: str, device: str, *, path: Path = TINY, graphs: bool = False) -> DeviceOrtSession:
    return DeviceOrtSession(
        engine,
        load_artifact(path),
        OPTIONS,
        backend="test",
        providers=[(provider, {})],
        chosen=session_options(engine, OPTIONS, 1),
        threads=1,
        device=device,
        graphs=graphs,
    )


def fake(tmp_path: Path, *, graphs: bool = False) -> tuple[FakeOrt, DeviceOrtSession]:
    engine = FakeOrt(tmp_path)
    session = opened(engine, "CUDAExecutionProvider", "cuda", graphs=graphs)
    engine.calls.clear()
    return engine, session


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_answers_are_the_references_for_batches_in_any_order(graphs: bool, layout: str) -> None:
    stored = read_reference()
    with real(graphs=graphs) as session:
        session.warm(3)
        kept = []
        for batch in (1, 2, 1, 5, 3, 1, 7, 16, 2, 4, 6, 8, 9, 10, 1):
            images = np.array(stored["input"][:batch], order=layout)
            answer = session.run({"input": images})["logits"]
            kept.append((answer, answer.copy(), batch))
    for answer, copy, batch in kept:
        np.testing.assert_array_equal(answer, copy)
        np.testing.assert_allclose(answer, stored["logits"][:batch], rtol=1e-4, atol=1e-5)


def test_threads_have_buffers_of_their_own() -> None:
    stored = read_reference()["input"]
    with real() as session:
        wanted = [session.run({"input": stored[i : i + 1]})["logits"] for i in range(8)]
        wrong: list[int] = []

        def work(offset: int) -> None:
            for step in range(60):
                i = (step + offset) % 8
                if not np.array_equal(session.run({"input": stored[i : i + 1]})["logits"], wanted[i]):
                    wrong.append(i)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong


def test_outputs_whose_size_depends_on_the_data(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NonZero", ["input"], ["where"])],
        "nonzero",
        [tensor("input", onnx.TensorProto.FLOAT, ["N", 4])],
        [tensor("where", onnx.TensorProto.INT64, [2, "K"])],
    )
    path = tmp_path / "nonzero.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)
    with real(path) as session:
        for row in ([0, 1, 0, 2], [1, 1, 1, 1], [0, 0, 0, 3]):
            array = np.array([row], np.float32)
            np.testing.assert_array_equal(session.run({"input": array})["where"], np.nonzero(array))


def test_a_run_copies_in_runs_waits_and_copies_out(tmp_path: Path) -> None:
    engine, session = fake(tmp_path)
    session.run({"input": np.ones((2, 1, 8, 8), np.float32)})
    assert [call[0] for call in engine.calls] == [
        *("allocate", "allocate"),
        *("copy in", "wait in", "run", "wait out", "copy out"),
    ]
    assert {call[1:3] for call in engine.calls if call[0] == "allocate"} == {("cuda", 0)}
    engine.calls.clear()
    answer = session.run({"input": np.full((2, 1, 8, 8), 2, np.float32)})["logits"]
    assert [call[0] for call in engine.calls] == ["copy in", "wait in", "run", "wait out", "copy out"]
    np.testing.assert_array_equal(answer, [[128], [128]])


def test_a_resident_run_copies_nothing(tmp_path: Path) -> None:
    engine, session = fake(tmp_path)
    run = session.resident({"input": np.ones((2, 1, 8, 8), np.float32)})
    engine.calls.clear()
    run()
    run()
    assert [call[0] for call in engine.calls] == ["run", "wait out"] * 2
    answer = session.run({"input": np.full((2, 1, 8, 8), 2, np.float32)})["logits"]
    np.testing.assert_array_equal(answer, [[128], [128]])  # other runs have buffers of their own


def test_a_resident_run_takes_what_a_run_takes(tmp_path: Path) -> None:
    _, session = fake(tmp_path)
    with pytest.raises(BadInput, match="input"):
        session.resident({"x": np.ones((2, 1, 8, 8), np.float32)})


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.integers(1, 14), min_size=1, max_size=40), graphs=st.booleans())
def test_any_order_of_batches_gives_the_sums_and_keeps_to_the_rules_of_graphs(
    batches: list[int], graphs: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine, session = fake(tmp_path_factory.mktemp("ort"), graphs=graphs)
    for number, batch in enumerate(batches):
        images = np.full((batch, 1, 8, 8), number, np.float32)
        np.testing.assert_array_equal(session.run({"input": images})["logits"], np.full((batch, 1), 64 * number))
    captured = [call[1] for call in engine.calls if call[0] == "capture"]
    assert len(captured) == len(set(captured)) <= 8 if graphs else not captured
    if graphs:
        assert len(captured) == min(len(set(batches)), 8)


def test_buffers_of_many_shapes_do_not_pile_up(tmp_path: Path) -> None:
    _, session = fake(tmp_path)
    for batch in range(1, 30):
        session.run({"input": np.ones((batch, 1, 8, 8), np.float32)})
    assert len(session._idle) == 8
    large = 1 << 20  # 256 MiB each
    for batch in (large, large + 1):
        session._give_back(((batch, 1, 8, 8),), SimpleNamespace(graph_id="", size_bytes=batch * 256))  # type: ignore[arg-type]
    assert list(session._idle) == [((large + 1, 1, 8, 8),)]


def test_with_graphs_the_first_answer_of_a_shape_comes_after_the_capture(tmp_path: Path) -> None:
    engine, session = fake(tmp_path, graphs=True)
    session.run({"input": np.ones((1, 1, 8, 8), np.float32)})
    assert [call[0] for call in engine.calls if call[0] in ("run", "capture")] == ["run", "run", "capture", "run"]
    engine.calls.clear()
    session.run({"input": np.ones((1, 1, 8, 8), np.float32)})
    assert [call[:2] for call in engine.calls if call[0] == "run"] == [("run", "1")]


def test_runs_of_a_session_with_graphs_follow_each_other(tmp_path: Path) -> None:
    engine, session = fake(tmp_path, graphs=True)
    wrong: list[float] = []

    def work(number: int) -> None:
        for _ in range(30):
            answer = session.run({"input": np.full((1, 1, 8, 8), number, np.float32)})["logits"]
            if answer[0, 0] != 64 * number:
                wrong.append(answer[0, 0])

    workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert sum(call[0] == "allocate" for call in engine.calls) == 2


def test_a_failing_run_is_an_inference_error_with_its_cause(tmp_path: Path) -> None:
    _, session = fake(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

    session._session.run_with_iobinding = session._session.run = fail
    with pytest.raises(InferenceError, match="CUDA failure 700") as caught:
        session.run({"input": np.ones((1, 1, 8, 8), np.float32)})
    assert isinstance(caught.value.__cause__, RuntimeError)
    session.close()
    with pytest.raises(RuntimeError):
        session.run({"input": np.ones((1, 1, 8, 8), np.float32)})
