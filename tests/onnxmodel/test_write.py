"""Written models are what the onnx package reads, and what our own reader reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.onnxmodel.graph import read_graph
from edgecnn.onnxmodel.write import Op, model_file
from edgecnn.specs import TensorSpec

onnx = pytest.importorskip("onnx")


def test_the_onnx_package_reads_what_was_written() -> None:
    weights = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)
    ops = [
        Op(op_type="Slice", inputs=("x", "starts", "ends"), output="cut", attributes={}),
        Op(
            op_type="Conv",
            inputs=("cut", "w"),
            output="y",
            attributes={"pads": (1, -2), "group": 3, "auto_pad": "VALID"},
        ),
    ]
    inputs = [TensorSpec(name="x", dtype="float32", shape=("N", 3))]
    outputs = [TensorSpec(name="y", dtype="float32", shape=("N", 2))]
    model = onnx.load_from_string(model_file("g", ops, {"w": weights, "starts": np.array([0])}, inputs, outputs))
    assert model.graph.name == "g"
    assert [node.op_type for node in model.graph.node] == ["Slice", "Conv"]
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in model.graph.node[1].attribute}
    assert attributes == {"pads": [1, -2], "group": 3, "auto_pad": b"VALID"}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(model.graph.initializer[0]), weights, strict=True)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["N", 3]


@settings(max_examples=40, deadline=None)
@given(
    attributes=st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.text(max_size=6),
            st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(tuple),
        ),
    ),
    shape=st.lists(st.one_of(st.integers(1, 2**40), st.just("N")), max_size=4).map(tuple),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    attributes: dict[str, int | str | tuple[int, ...]],
    shape: tuple[int | str, ...],
) -> None:
    path = tmp_path_factory.mktemp("written") / "m.onnx"
    spec = TensorSpec(name="x", dtype="int8", shape=shape)
    out = TensorSpec(name="y", dtype="float64", shape=())
    op = Op(op_type="Thing", inputs=("x", "", "w"), output="y", attributes=attributes)
    path.write_bytes(model_file("g", [op], {"w": np.ones((2, 0), np.uint16)}, [spec], [out]))
    graph = read_graph(path)
    assert graph.nodes[0].inputs == ("x", "", "w")
    assert dict(graph.nodes[0].attributes) == attributes
    assert graph.tensors == {"x": spec, "y": out}
    assert graph.constants["w"].shape == (2, 0)
