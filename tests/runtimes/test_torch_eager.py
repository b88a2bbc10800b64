"""Backend torch: what ONNX's own cases say of every operator, and the networks that are bundled."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction, EdgecnnError
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.testing.models import TINY, TINY_INT8

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")


def _node(op_type: str, inputs: list[str], outputs: list[str], **attributes: object) -> object:
    return onnx.helper.make_node(op_type, inputs, outputs, **attributes)


def _save(folder: Path, nodes: list[object], *, opset: int = 18) -> Path:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, ["N", 2, 4, 4])], [value("y", 1, ["N", None, None, None])]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 10
    path = folder / "m.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_every_case_of_onnx_is_right_or_refused(tmp_path: Path) -> None:
    right, refused = 0, []
    for case in _cases():
        path = tmp_path / "m.onnx"
        path.write_bytes(case.model.SerializeToString())
        try:
            _check_case(case, path)
            right += 1
        except EdgecnnError as error:
            refused.append(f"{case.name}: {error.message}")
    assert right >= 480, "\n".join(refused)


def _cases() -> Iterator[object]:
    from onnx.backend.test.loader import load_model_tests

    from edgecnn.runtimes.torchops import OPERATORS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases are computed with numpy when they are loaded
        cases = load_model_tests(kind="node")
    for case in cases:
        nodes = case.model.graph.node
        if {n.op_type for n in nodes} <= set(OPERATORS) and case.model.opset_import[0].version >= 13:
            yield case


def _check_case(case: object, path: Path) -> None:
    with open_session(load_artifact(path), backend="torch") as session:
        for feeds, wanted in case.data_sets:
            names = [one.name for one in case.model.graph.input]
            answer = session.run({name: np.asarray(value) for name, value in zip(names, feeds, strict=True)})
            for one, value in zip(case.model.graph.output, wanted, strict=True):
                assert answer[one.name].dtype == np.asarray(value).dtype, case.name
                assert answer[one.name].shape == np.asarray(value).shape, case.name
                np.testing.assert_allclose(
                    answer[one.name], value, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=case.name
                )


@pytest.mark.parametrize("path", [TINY, TINY_INT8], ids=["fp32", "int8"])
def test_it_agrees_with_the_engine(path: Path) -> None:
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    answers = []
    for backend in ("cpu", "torch"):
        with open_session(load_artifact(path), backend=backend) as session:
            answers.append(session.run({"input": images})["logits"])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5 if path == TINY else 0.05)


@pytest.mark.parametrize("sides", [{"pads": [0, 1, 1, 0]}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "SAME_UPPER"}])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("counted", [0, 1])
def test_pooling_agrees_with_the_engine(tmp_path: Path, sides: dict[str, object], ceil: int, counted: int) -> None:
    shape = {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": ceil, **sides}
    nodes = [
        _node("MaxPool", ["x"], ["m"], **shape),
        _node("AveragePool", ["x"], ["a"], count_include_pad=counted, **shape),
        _node("Concat", ["m", "a"], ["y"], axis=1),
    ]
    artifact = load_artifact(_save(tmp_path, nodes))
    image = np.random.default_rng(1).standard_normal((2, 2, 4, 4)).astype(np.float32)
    with open_session(artifact, backend="cpu") as cpu, open_session(artifact, backend="torch") as reference:
        np.testing.assert_allclose(cpu.run({"x": image})["y"], reference.run({"x": image})["y"], atol=1e-6)


def test_the_processs_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    with open_session(load_artifact(TINY), backend="torch", options=OpenOptions(threads=before + 1)) as session:
        session.run({"input": np.zeros((1, 1, 8, 8), np.float32)})
        assert session.info().threads == before + 1
    assert torch.get_num_threads() == before


def test_what_it_cannot_do_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"does not know node 'odd' \(Det\)"):
        _open(_save(tmp_path, [_node("Det", ["x"], ["y"], name="odd")]))
    with pytest.raises(BadInput, match="second output"):
        _open(_save(tmp_path, [_node("MaxPool", ["x"], ["a", "y"], kernel_shape=[2, 2])]))
    with pytest.raises(BadInput, match="operator set: expected at least 13, got 9"):
        _open(_save(tmp_path, [_node("Relu", ["x"], ["y"])], opset=9))
    with pytest.raises(BadInput, match="nothing makes lost"):
        _open(_save(tmp_path, [_node("Add", ["x", "lost"], ["y"])]))


@pytest.mark.parametrize(
    "options", [OpenOptions(spinning=False), OpenOptions(cache=True), OpenOptions(trust_engine=True)]
)
def test_options_without_meaning_are_refused(options: OpenOptions) -> None:
    with pytest.raises(Contradiction, match="backend torch cannot honour"):
        open_session(load_artifact(TINY), backend="torch", options=options)


def _open(path: Path) -> None:
    open_session(load_artifact(path), backend="torch").close()
