"""Multiply-adds and bytes by closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.artifacts import load_artifact
from edgecnn.onnxmodel.graph import OnnxConstant, OnnxGraph, OnnxNode
from edgecnn.onnxmodel.shapes import TensorType, infer_types
from edgecnn.profiling.costs import Costs, node_macs
from edgecnn.profiling.layers import analyse
from edgecnn.testing.models import TINY, TINY_INT8

# tiny.onnx: 3x3 of 1 to 4 channels on 8x8, 3x3 of 4 to 8 on 4x4, 8 to 3.
TINY_MACS = 9 * 1 * 4 * 64 + 9 * 4 * 8 * 16 + 8 * 3


@pytest.mark.parametrize("batch", [1, 5])
def test_tiny(batch: int) -> None:
    analysed = analyse(load_artifact(TINY), batch=batch)
    whole = analysed.costs.of(analysed.graph.nodes)
    assert whole.macs == batch * TINY_MACS
    assert whole.weight_bytes == 4 * (36 + 4 + 288 + 8 + 24 + 3)
    assert whole.input_bytes == 4 * batch * 64
    assert whole.output_bytes == 4 * batch * 3
    first = analysed.costs.of(analysed.graph.nodes[:2])
    assert (first.macs, first.input_bytes, first.output_bytes) == (batch * 2304, 4 * batch * 64, 4 * batch * 256)
    # Weights, and the first pooling layer's input and output.
    assert analysed.working_set_bytes == whole.weight_bytes + 4 * batch * (256 + 256)


def test_int8_weights_and_activations_count_a_byte_each() -> None:
    analysed = analyse(load_artifact(TINY_INT8), batch=1)
    conv = next(one for one in analysed.graph.nodes if one.op_type == "Conv" and one.inputs[0] != "input")
    cost = analysed.costs.of([conv])
    assert cost.weight_dtypes == ("int8",)
    assert cost.input_bytes is not None
    types = analysed.types
    # What moves is the tensor before DequantizeLinear.
    assert cost.input_bytes < sum(4 * math.prod(types[name].shape) for name in conv.inputs if name)


@given(
    batch=st.integers(1, 4),
    groups=st.integers(1, 4),
    deep=st.integers(1, 4),
    wide=st.integers(1, 4),
    kernel=st.integers(1, 3),
    size=st.integers(3, 9),
)
def test_a_convolution_is_its_weights_times_its_positions(
    batch: int, groups: int, deep: int, wide: int, kernel: int, size: int
) -> None:
    weight = OnnxConstant(dtype="float32", shape=(groups * wide, deep, kernel, kernel), values=None)
    node = OnnxNode(
        name="c",
        op_type="Conv",
        domain="",
        inputs=("x", "w"),
        outputs=("y",),
        attributes={"group": groups, "pads": (0, 0, 0, 0)},
    )
    graph = OnnxGraph(nodes=(node,), constants={"w": weight})
    types = infer_types(graph, {"x": TensorType("float32", (batch, groups * deep, size, size))})
    positions = (size - kernel + 1) ** 2
    assert node_macs(node, types) == batch * groups * wide * deep * kernel**2 * positions
    assert Costs(graph, types, ["y"]).of([node]).output_bytes == 4 * batch * groups * wide * positions


def test_a_shape_that_is_not_known_is_not_counted_as_nothing() -> None:
    node = OnnxNode(name="c", op_type="Conv", domain="", inputs=("x", "w"), outputs=("y",))
    graph = OnnxGraph(nodes=(node,), constants={"w": OnnxConstant(dtype="float32", shape=(1, 1, 1, 1), values=None)})
    cost = Costs(graph, infer_types(graph, {}), ["y"]).of([node])
    assert (cost.macs, cost.input_bytes, cost.total_bytes) == (None, None, None)
    assert cost.weight_bytes == 4


def test_a_weight_that_is_an_activation_has_the_type_that_it_is_computed_in() -> None:
    """A product of two activations behind a uint8 input computes in float32, not in the type of the input."""
    nodes = (
        OnnxNode(name="cast", op_type="Cast", domain="", inputs=("pixels",), outputs=("x",), attributes={"to": 1}),
        OnnxNode(name="relu", op_type="Relu", domain="", inputs=("x",), outputs=("y",)),
        OnnxNode(name="product", op_type="MatMul", domain="", inputs=("x", "y"), outputs=("z",)),
    )
    graph = OnnxGraph(nodes=nodes, constants={}, tensors={})
    types = infer_types(graph, {"pixels": TensorType("uint8", (4, 4))})
    assert Costs(graph, types, ["z"]).of(nodes[2:]).weight_dtypes == ("float32",)
