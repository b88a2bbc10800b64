"""What TensorRT's parser and fusions want of an int8 file, held by every small network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgecnn.exporters.passes.values import constant

Array = NDArray[Any]
LAYERS = ("Conv", "Gemm", "MatMul")
HEAD = "p = GlobalAveragePool(t) f = Flatten(p) y = Gemm<transB=1>(f, head, hb)"
BODIES = {
    "chain": "a = Conv(x, w1, b1) r = Relu(a) c = Conv(r, w2) t = Relu(c)",
    "residual": "a = Conv(x, w1) r = Relu(a) c = Conv(r, w4) d = Relu(c) e = Conv(d, w5, b1) s = Add(e, r) u = Relu(s) "
    "g = Conv(u, w4) t = Relu(g)",
    "identity first": "a = Conv(x, w1) r = Relu(a) c = Conv(r, w4) s = Add(r, c) u = Relu(s) t = Conv(u, w5)",
    "projection": "a = Conv(x, w1) r = Relu(a) c = Conv(r, w4) d = Conv(r, w5) s = Add(d, c) t = Conv(s, w6)",
    "two floats": "a = Conv(x, w1) r = Relu(a) c = Conv(a, w4) d = Tanh(c) s = Add(d, r) t = Conv(s, w5)",
    "inception": "a = Conv(x, w1) r = Relu(a) c = Conv(r, w4) d = Relu(c) m = MaxPool<kernel_shape=[1,1]>(r) "
    "e = Conv(m, w5) z = Concat<axis=1>(d, e) g = Conv(z, w7) t = Relu(g)",
    "pool at the end": "a = Conv(x, w1) r = Relu(a) t = MaxPool<kernel_shape=[2,2]>(r)",
    "dead channel": "a = Conv(x, dead) t = Relu(a)",
}


def weight(seed: int, *shape: int) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


CONSTANTS = {
    "w1": weight(1, 16, 3, 3, 3),
    "w2": weight(2, 16, 16, 3, 3),
    "w4": weight(4, 16, 16, 1, 1),
    "w5": weight(5, 16, 16, 1, 1),
    "w6": weight(6, 16, 16, 1, 1),
    "w7": weight(7, 16, 32, 1, 1),
    "dead": np.concatenate([weight(8, 15, 3, 1, 1), np.zeros((1, 3, 1, 1), np.float32)]),
    "head": weight(9, 10, 16),
    "l1": weight(10, 16, 16),
    "b1": weight(11, 16, 16)[0],
    "hb": np.linspace(-0.1, 0.1, 10, dtype=np.float32),
}


@pytest.fixture(scope="module")
def make(parse: Any, quantize_graph: Any) -> Callable[..., Any]:
    """`make(body)`: the file for TensorRT."""
    coarse = np.random.default_rng(5).integers(0, 256, (16, 4, 4, 3))
    pictures = coarse.repeat(3, axis=1).repeat(3, axis=2).astype(np.uint8)
    made: dict[str, Any] = {}

    def make(body: str, **options: Any) -> Any:
        if body not in made or options:
            text = f"g (float[N,3,12,12] x) => (float[N,10] y) {{ {body} }}"
            used = {name: array for name, array in CONSTANTS.items() if f"{name})" in text or f"{name}," in text}
            made[body] = quantize_graph(parse(text, **used), pictures, target="trt", **options)[0]
        return made[body]

    return make


def whole(name: str) -> str:
    return f"{BODIES[name]} {HEAD}"


def quantizers(model: Any) -> Iterator[Any]:
    return (node for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear"))


def node_of(model: Any, name: str) -> Any:
    return next(node for node in model.graph if node.outputs[0].name == name)


def is_quantized(value: Any) -> bool:
    return value.producer() is not None and value.producer().op_type == "DequantizeLinear"


@pytest.mark.parametrize("body", BODIES)
def test_zero_points_stand_in_the_file_and_are_zero(make: Any, body: str) -> None:
    found = [constant(node.inputs[2]) for node in quantizers(make(whole(body)))]
    assert found
    assert all(zero is not None and zero.dtype == np.int8 and not zero.any() for zero in found)


@pytest.mark.parametrize("body", BODIES)
def test_scales_are_positive_constants(make: Any, body: str) -> None:
    for node in quantizers(make(whole(body))):
        scale = constant(node.inputs[1])
        assert scale is not None and (scale > 0).all()


@pytest.mark.parametrize("body", BODIES)
def test_nothing_is_int32_or_unsigned(make: Any, body: str) -> None:
    model = make(whole(body))
    types = {value.const_value.dtype for value in model.graph.initializers.values()}
    assert types <= {ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.INT64}
    for node in model.graph:
        if node.op_type in LAYERS and len(node.inputs) > 2:
            assert constant(node.inputs[2]).dtype == np.float32


@pytest.mark.parametrize("body", BODIES)
def test_weights_have_one_scale_per_output_channel_along_the_first_axis(make: Any, body: str) -> None:
    for node in make(whole(body)).graph:
        if node.op_type in LAYERS and is_quantized(node.inputs[1]):
            dequantize = node.inputs[1].producer()
            integers = constant(dequantize.inputs[0])
            assert dequantize.attributes["axis"].value == 0
            assert constant(dequantize.inputs[1]).shape == (integers.shape[0],)
            assert integers.min() >= -127


@pytest.mark.parametrize("body", BODIES)
def test_layers_read_quantized_and_give_float(make: Any, body: str) -> None:
    model = make(whole(body))
    layers = [node for node in model.graph if node.op_type == "Conv"]
    for node in layers:
        assert is_quantized(node.inputs[0]) and is_quantized(node.inputs[1])
    for node in model.graph:
        if node.op_type in ("Relu", "Tanh"):
            assert not is_quantized(node.inputs[0])


@pytest.mark.parametrize("body", BODIES)
def test_the_last_linear_layer_stays_float(make: Any, body: str) -> None:
    head = node_of(make(whole(body)), "y")
    assert not is_quantized(head.inputs[0]) and not is_quantized(head.inputs[1])


@pytest.mark.parametrize("body", BODIES)
def test_pools_and_concatenations_are_quantized_on_both_sides_or_on_neither(make: Any, body: str) -> None:
    for node in make(whole(body)).graph:
        if node.op_type in ("MaxPool", "Concat", "GlobalAveragePool"):
            before = {is_quantized(value) for value in node.inputs}
            after = {use.node.op_type == "QuantizeLinear" for use in node.outputs[0].uses()}
            assert len(before) == 1 and before == after


@pytest.mark.parametrize(("body", "identity"), [("residual", "r"), ("identity first", "r"), ("projection", "c")])
def test_a_sum_reads_the_identity_quantized_and_the_branch_float(make: Any, body: str, identity: str) -> None:
    model = make(whole(body))
    quantized = [value for value in node_of(model, "s").inputs if is_quantized(value)]
    assert [value.producer().inputs[0].producer().inputs[0].name for value in quantized] == [identity]


@pytest.mark.parametrize("body", ["residual", "identity first"])
def test_a_sum_shares_the_dequantizer_of_the_next_convolution(make: Any, body: str) -> None:
    shared = next(value for value in node_of(make(whole(body)), "s").inputs if is_quantized(value))
    assert {use.node.op_type for use in shared.uses()} == {"Conv", "Add"}


def test_a_sum_without_a_convolution_stays_float(make: Any) -> None:
    assert not any(is_quantized(value) for value in node_of(make(whole("two floats")), "s").inputs)


def test_the_inputs_of_a_concatenation_share_its_scale(make: Any) -> None:
    model = make(whole("inception"))
    joined = node_of(model, "z")
    scales = {value.producer().inputs[1].name for value in joined.inputs}
    behind = next(use.node for use in joined.outputs[0].uses()).inputs[1].name
    assert scales == {behind}


def test_a_pool_keeps_its_scale(make: Any) -> None:
    model = make(whole("inception"))
    pool = node_of(model, "m")
    behind = next(use.node for use in pool.outputs[0].uses())
    assert pool.inputs[0].producer().inputs[1] is behind.inputs[1]


def test_a_linear_layer_counts_its_outputs_first(make: Any, run: Any) -> None:
    body = (
        "a = Conv(x, w1) p = GlobalAveragePool(a) f = Flatten(p) g = Gemm<alpha=0.5, beta=2.0>(f, l1, b1) r = Relu(g) "
    )
    model = make(body + "y = Gemm<transB=1>(r, head, hb)")
    layer = node_of(model, "g")
    assert layer.attributes["transB"].value == 1
    integers, scale = (constant(value) for value in layer.inputs[1].producer().inputs[:2])
    np.testing.assert_allclose(integers * scale[:, None], 0.5 * CONSTANTS["l1"].T, atol=scale.max() / 2 * 1.001)
    np.testing.assert_allclose(constant(layer.inputs[2]), 2 * CONSTANTS["b1"])


def test_a_node_that_is_kept_float_reads_float(make: Any) -> None:
    model = make(whole("chain"), keep_float=("conv_2",))
    assert not is_quantized(node_of(model, "c").inputs[0])
    assert is_quantized(node_of(model, "a").inputs[0])
