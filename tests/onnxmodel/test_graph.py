"""Nodes and constants of ONNX files, compared with what the onnx package reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecnn.errors import BadInput
from edgecnn.onnxmodel.graph import read_graph
from edgecnn.testing.models import TINY, TINY_INT8

MODELS = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))


@pytest.mark.parametrize("path", [TINY, TINY_INT8], ids=lambda path: path.name)
def test_nodes_are_the_files(path: Path) -> None:
    model = onnx.load(path)
    wanted = [
        (node.name or node.output[0], node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node
    ]
    assert [(n.name, n.op_type, n.inputs, n.outputs) for n in read_graph(path).nodes] == wanted


def test_constants_are_the_files() -> None:
    """Every initializer of the ONNX project's own test models, whatever way its values are stored."""
    read = 0
    for path in MODELS[:: max(1, len(MODELS) // 400)]:
        found = read_graph(path).constants
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            constant = found[tensor.name]
            assert constant.shape == tuple(tensor.dims)
            if constant.values is not None:
                np.testing.assert_array_equal(
                    constant.values.reshape(constant.shape), numpy_helper.to_array(tensor), strict=True
                )
                read += 1
    assert read > 100


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TensorProto.FLOAT, [0.5, -1.25]),
        (TensorProto.DOUBLE, [0.5, -1.25]),
        (TensorProto.FLOAT16, [0.5, -1.25]),
        (TensorProto.INT8, [-128, 127]),
        (TensorProto.UINT8, [0, 255]),
        (TensorProto.INT32, [-(2**31), 2**31 - 1]),
        (TensorProto.INT64, [-(2**63), 2**63 - 1]),
        (TensorProto.UINT64, [0, 2**64 - 1]),
        (TensorProto.BOOL, [True, False]),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_values_of_each_type(tmp_path: Path, kind: int, values: list[float], raw: bool) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    array = np.array(values, dtype)
    tensor = helper.make_tensor("c", kind, [2], array.tobytes() if raw else values, raw)
    constant = read_graph(_file(tmp_path, tensor)).constants["c"]
    assert constant.values is not None
    np.testing.assert_array_equal(constant.values, array, strict=True)


def test_values_that_cannot_be_told_are_none(tmp_path: Path) -> None:
    short = helper.make_tensor("short", TensorProto.FLOAT, [1], [1.0])
    short.dims[0] = 2
    wide = helper.make_tensor("wide", TensorProto.INT8, [1], [1])
    wide.int32_data[0] = 2**31 - 1
    wide.int64_data.append(2**62)
    large = numpy_helper.from_array(np.zeros(1 << 19, np.float32), "large")
    external = helper.make_tensor("external", TensorProto.FLOAT, [1], [1.0])
    external.data_location = TensorProto.EXTERNAL
    small = helper.make_tensor("small", TensorProto.INT4, [2], [1, 2])
    found = read_graph(_file(tmp_path, short, wide, large, external, small)).constants
    assert {name: constant.values for name, constant in found.items()} == dict.fromkeys(found)
    assert len(found) == 5
    assert found["small"].dtype == "type 22"


def test_constant_nodes_sub_graphs_and_functions_are_read(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Inside", ["x", "k"], ["y"], domain="some.where")], "inner", [], [], [_scalar("k")]
    )
    function = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("InF", ["a"], ["b"])], [])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=_scalar("")),
        helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner),
        helper.make_node("Plain", ["x", "", "c"], ["w"], name="named", domain="ai.onnx"),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []), functions=[function])
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    graph = read_graph(path)
    assert [node.op_type for node in graph.nodes] == ["Constant", "If", "Plain", "InF", "Inside", "Inside"]
    assert graph.nodes[2].inputs == ("x", "", "c")
    assert (graph.nodes[2].name, graph.nodes[2].domain) == ("named", "")
    assert (graph.nodes[4].name, graph.nodes[4].domain) == ("y", "some.where")
    assert set(graph.constants) == {"c", "k"}


@given(st.data())
def test_damaged_files_are_read_or_bad_input(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(TINY_INT8.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content)
    try:
        read_graph(path)
    except BadInput as error:
        assert str(path) in error.message


def test_what_is_no_model_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for content, word in {b"": "empty", b"hello": "not an ONNX model", b"\x08\x08": "no graph"}.items():
        path.write_bytes(content)
        with pytest.raises(BadInput, match=word):
            read_graph(path)
    with pytest.raises(BadInput, match="does not exist"):
        read_graph(tmp_path / "missing.onnx")


def _scalar(name: str) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [], [1.0])


def _file(folder: Path, *tensors: onnx.TensorProto) -> Path:
    path = folder / "m.onnx"
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [], list(tensors))
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path
