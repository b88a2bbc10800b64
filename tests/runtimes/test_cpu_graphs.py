"""Backend cpu on graphs whose declared shapes say little, nothing or what is not so."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, InferenceError, ProviderFallback
from edgecnn.runtimes import OpenOptions, Session, open_session
from edgecnn.runtimes.ort import bound as backend
from edgecnn.runtimes.ort.session import refuse_fallback
from edgecnn.testing.models import TINY

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

Shape = Sequence[int | str | None] | None


def _value(name: str, shape: Shape, dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def _open(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    weights: dict[str, Any] | None = None,
    *,
    opset: int = 18,
    ir_version: int = 9,
) -> Session:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return open_session(load_artifact(path), options=OpenOptions(threads=1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def test_an_output_that_is_larger_than_declared(file: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with _open(file, [node], [_value("x", ["N", 3])], [_value("y", [1, 3])]) as session:
        for rows in (1, 1, 1, 4, 4, 1, 2):
            answer = session.run({"x": np.full((rows, 3), rows, np.float32)})["y"]
            np.testing.assert_array_equal(answer, np.full((rows, 3), rows, np.float32))


def test_an_output_of_twice_the_symbol(file: Path) -> None:
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    with _open(file, [node], [_value("x", ["N", 3])], [_value("y", ["N", 3])]) as session:
        for rows in (1, 1, 2, 2, 1):
            x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
            np.testing.assert_array_equal(session.run({"x": x})["y"], np.concatenate([x, x]))


def test_outputs_that_depend_on_the_data(file: Path) -> None:
    """The first run happens to give the declared shape; later ones do not."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    with _open(file, [node], [_value("x", ["N"])], [_value("y", [1, "N"], TensorProto.INT64)]) as session:
        for x in ([1, 1, 1], [1, 2, 3], [0, 1, 0], [1, 1, 1], [0, 0, 0], [5, 5, 0]):
            answer = session.run({"x": np.array(x, np.float32)})["y"]
            np.testing.assert_array_equal(answer, np.nonzero(x))


def test_a_run_that_fails_for_its_data_fails_alone(file: Path) -> None:
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    inputs, outputs = [_value("x", ["N"], TensorProto.INT64)], [_value("y", ["N"])]
    with _open(file, [node], inputs, outputs, {"table": np.array([5, 6, 7], np.float32)}) as session:
        for _ in range(3):
            assert session.run({"x": np.array([2, 0])})["y"].tolist() == [7, 5]
            with pytest.raises(InferenceError):
                session.run({"x": np.array([2, 9])})


def test_outputs_that_numpy_cannot_hold(file: Path) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])]
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, ["N"])
    with _open(file, nodes, [_value("x", ["N"])], [output]) as session:
        for _ in range(3):
            first, second = session.run({"x": np.ones(2, np.float32)})["y"]
            assert first.tolist() == second.tolist() == [1, 1]


def test_outputs_of_8_bit_floats_do_not_fail_for_want_of_a_buffer(file: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)]
    output = _value("y", ["N"], TensorProto.FLOAT8E4M3FN)
    plain = []
    with _open(file, nodes, [_value("x", ["N"])], [output], opset=19) as session:
        engine = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for _ in range(3):
            try:
                plain.append(engine.run(None, {"x": np.ones(2, np.float32)})[0].tolist())
            except Exception as error:
                with pytest.raises(InferenceError, match=re.escape(str(error).splitlines()[0][:40])):
                    session.run({"x": np.ones(2, np.float32)})
            else:
                assert session.run({"x": np.ones(2, np.float32)})["y"].tolist() == plain[-1]


@pytest.mark.parametrize("op", ["Identity", "Flatten"])
def test_outputs_that_are_the_input_or_a_constant(file: Path, op: str) -> None:
    """Such outputs are no node's own memory, bound or not."""
    nodes = [helper.make_node(op, ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    outputs = [_value("y", ["N", 2]), _value("z", [3])]
    with _open(file, nodes, [_value("x", ["N", 2])], outputs, {"w": np.arange(3, dtype=np.float32)}) as session:
        for number in range(4):
            x = np.full((2, 2), number, np.float32)
            answer = session.run({"x": x})
            np.testing.assert_array_equal(answer["y"], x)
            np.testing.assert_array_equal(answer["z"], [0, 1, 2])
            answer["z"][:] = -1


def test_unnamed_dimensions_are_independent(file: Path) -> None:
    node = helper.make_node("Concat", ["a", "b"], ["y"], axis=0)
    inputs, outputs = [_value("a", [None, 3]), _value("b", [None, 3])], [_value("y", [None, 3])]
    with _open(file, [node], inputs, outputs) as session:
        assert [spec.shape for spec in session.inputs] == [("a_0", 3), ("b_0", 3)]
        spec = load_artifact(file).spec
        assert (session.inputs, session.outputs) == (spec.inputs, spec.outputs)
        feeds = {"a": np.zeros((2, 3), np.float32), "b": np.ones((4, 3), np.float32)}
        assert session.run(feeds)["y"].shape == (6, 3)


@pytest.mark.parametrize("shape", [[-1, 3], ["", 3], ["N", None]])
def test_header_and_engine_name_dimensions_alike(file: Path, shape: Shape) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with _open(file, [node], [_value("x", shape)], [_value("y", shape)]) as session:
        spec = load_artifact(file).spec
        assert (session.inputs, session.outputs) == (spec.inputs, spec.outputs)


def test_inputs_that_numpy_does_not_have_are_bad_input(file: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    inputs = [_value("x", ["N"], TensorProto.FLOAT8E4M3FN)]
    with (
        _open(file, nodes, inputs, [_value("y", ["N"])], opset=19) as session,
        pytest.raises(BadInput, match="which numpy does not have"),
    ):
        session.run({"x": np.zeros(2, np.uint8)})


def _buffers(session: Any) -> int:
    sets = [bound for idle in session._idle.values() for bound in idle]
    return sum(bound.input.nbytes + sum(buffer.nbytes for _, buffer in bound.outputs) for bound in sets)


def test_many_shapes_and_threads_keep_few_buffers() -> None:
    with open_session(load_artifact(TINY), options=OpenOptions(threads=1)) as session:
        for batch in range(1, 300):
            for _ in range(3):
                session.run({"input": np.zeros((batch, 1, 8, 8), np.float32)})
        assert 0 < len(session._idle) <= backend._KEPT_SHAPES
        assert len(session._accepted) <= 16

        def work() -> None:
            for _ in range(50):
                session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})

        workers = [threading.Thread(target=work) for _ in range(24)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert all(len(idle) <= backend._KEPT_SETS for idle in session._idle.values())
        assert _buffers(session) <= 4 << 20


def test_a_small_input_with_a_large_output_keeps_no_buffer(file: Path) -> None:
    node = helper.make_node("Expand", ["x", "size"], ["y"])
    weights = {"size": np.array([1 << 16], np.int64)}
    with _open(file, [node], [_value("x", [1])], [_value("y", [1 << 16])], weights) as session:
        for number in range(3):
            assert session.run({"x": np.array([number], np.float32)})["y"].sum() == number << 16
        assert _buffers(session) == 0


def test_a_path_that_speaks_of_opsets_is_no_newer_file(tmp_path: Path) -> None:
    folder = tmp_path / "opset13 IR version"
    node = helper.make_node("NoSuchOpset", ["x"], ["y"])
    with pytest.raises(BadInput, match="cannot load") as caught:
        _open(folder / "m.onnx", [node], [_value("x", ["N"])], [_value("y", ["N"])])
    assert "newer" not in str(caught.value)


@pytest.mark.parametrize("versions", [{"opset": 99}, {"ir_version": 99}])
def test_a_newer_file_is_told_as_such(file: Path, versions: dict[str, int]) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(BadInput, match=r"has opset \d+ and IR \d+, more than onnxruntime .* reads") as caught:
        _open(file, [node], [_value("x", ["N"])], [_value("y", ["N"])], **versions)
    assert "install a newer onnxruntime" in caught.value.hint


def test_a_fallback_names_providers_and_nodes() -> None:
    asked = ("CUDAExecutionProvider",)
    active = ("CUDAExecutionProvider", "CPUExecutionProvider")
    nodes = tuple(f"n{i} (Shape)" for i in range(5))
    with pytest.raises(ProviderFallback) as caught:
        refuse_fallback(asked, active, {"CUDAExecutionProvider": ("c (Conv)",), "CPUExecutionProvider": nodes})
    assert caught.value.message == (
        "asked for CUDAExecutionProvider, got 5 of 6 nodes on CPUExecutionProvider: "
        "n0 (Shape), n1 (Shape), n2 (Shape) and 2 more"
    )
    assert caught.value.hint == "OpenOptions(allow_fallback=True) accepts it"
    with pytest.raises(ProviderFallback, match="asked for CUDAExecutionProvider, got CPUExecutionProvider"):
        refuse_fallback(asked, ("CPUExecutionProvider",), None)
    refuse_fallback(asked, active, {"CUDAExecutionProvider": ("c (Conv)",)})
