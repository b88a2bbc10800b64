from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgecnn.errors import QuantizeError
from edgecnn.exporters.passes.values import constant
from edgecnn.exporters.quantize.placement import place

Array = NDArray[Any]
RNG = np.random.default_rng(0)

EVERY_OPERATOR = """g (float[N,3,8,8] x) => (float[N,10] y) {
    a0 = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w1, b1)
    a = Relu(a0)
    d0 = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=16>(a, w2, b2)
    d = Clip(d0, zero, six)
    e = Conv(d, w3)
    s0 = Add(e, a)
    s = Relu(s0)
    l = Conv<group=2>(s, w4)
    r = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(s, w1b)
    c = Concat<axis=1>(l, r)
    m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)
    v = AveragePool<kernel_shape=[2,2]>(m)
    k = Slice(v, from, to, axes)
    p = Pad(k, pads)
    o = Conv(p, w5)
    t = Tanh(o)
    u = Conv(t, w8)
    q = GlobalAveragePool(u)
    f = Flatten(q)
    h0 = Gemm<alpha=0.5, beta=2.0>(f, w6, b6)
    h = Relu(h0)
    y = MatMul(h, w7)
}"""


def weight(*shape: int) -> Array:
    fan_in = int(np.prod(shape[1:]))
    return (RNG.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


CONSTANTS = {
    "w1": weight(16, 3, 3, 3),
    "b1": weight(16, 1)[:, 0],
    "w2": weight(16, 1, 3, 3),
    "b2": weight(16, 1)[:, 0],
    "w3": weight(16, 16, 1, 1),
    "w4": weight(16, 8, 1, 1),
    "w1b": weight(16, 16, 3, 3),
    "w5": weight(24, 32, 1, 1),
    "w8": weight(24, 24, 1, 1),
    "w6": weight(24, 20),
    "b6": weight(20, 1)[:, 0],
    "w7": weight(20, 10),
    "zero": np.float32(0),
    "six": np.float32(6),
    "from": np.array([0], np.int64),
    "to": np.array([2], np.int64),
    "axes": np.array([3], np.int64),
    "pads": np.array([0, 0, 0, 1, 0, 0, 0, 1], np.int64),
}


@pytest.fixture
def pictures() -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (64, 8, 8, 3)).astype(np.uint8)


def floats(pictures: NDArray[np.uint8]) -> Array:
    return ((pictures.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25).astype(np.float32)


def decibels(reference: Array, other: Array) -> float:
    """Signal to quantization noise ratio."""
    noise = reference.astype(np.float64) - other
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / np.sum(noise**2)))


def test_every_operator_is_close_to_fp32(
    parse: Any, run: Any, quantize_graph: Any, pictures: NDArray[np.uint8]
) -> None:
    model = parse(EVERY_OPERATOR, **CONSTANTS)
    left = {node.op_type for node in model.graph} - {node.op_type for node in place(model).nodes}
    assert left == {"Relu", "Clip", "Tanh"}
    int8, _ = quantize_graph(model, pictures)
    reference = run(model, x=floats(pictures))[0]
    assert decibels(reference, run(int8, x=floats(pictures))[0]) > 28


@pytest.mark.parametrize(
    "options", [{"method": "mse"}, {"method": "percentile"}, {"per_channel": False}, {"reduce_range": True}]
)
def test_every_option_is_close_to_fp32(
    parse: Any, run: Any, quantize_graph: Any, pictures: NDArray[np.uint8], options: dict[str, Any]
) -> None:
    model = parse(EVERY_OPERATOR, **CONSTANTS)
    int8, _ = quantize_graph(model, pictures, **options)
    assert decibels(run(model, x=floats(pictures))[0], run(int8, x=floats(pictures))[0]) > 20


def test_the_engine_fuses_every_operator(
    parse: Any, quantize_graph: Any, fused: Callable[[Any], dict[str, int]], pictures: NDArray[np.uint8]
) -> None:
    int8, _ = quantize_graph(parse(EVERY_OPERATOR, **CONSTANTS), pictures)
    found = fused(int8)
    assert found.get("Conv", 0) == 0
    assert found["QLinearConv"] == 8  # seven convolutions and the average
    assert (found["QLinearAdd"], found["QLinearConcat"], found["QLinearGlobalAveragePool"]) == (1, 1, 1)
    assert found["QGemm"] == 1
    assert found["MatMulIntegerToFloat"] == 1
    assert found["QuantizeLinear"] == 2  # the image, and behind the tanh
    assert found["DequantizeLinear"] == 1  # before the tanh


@pytest.mark.parametrize("end", ["y = Conv(r, w3)", "y = MaxPool<kernel_shape=[1,1]>(r)"])
def test_the_engine_fuses_a_relu_behind_a_pool(
    parse: Any,
    run: Any,
    quantize_graph: Any,
    fused: Callable[[Any], dict[str, int]],
    pictures: NDArray[np.uint8],
    end: str,
) -> None:
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,h,w] y) "
        f"{{ a = Conv(x, w1) m = MaxPool<kernel_shape=[2,2]>(a) r = Relu(m) {end} }}",
        w1=CONSTANTS["w1"],
        w3=CONSTANTS["w3"],
    )
    int8, _ = quantize_graph(model, pictures)
    found = fused(int8)
    assert "Relu" not in found
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 1)  # the image and the result
    reference = run(model, x=floats(pictures))[0]
    assert decibels(reference, run(int8, x=floats(pictures))[0]) > 35


def test_weights_are_int8_and_bias_int32_in_the_file(
    parse: Any, quantize_graph: Any, pictures: NDArray[np.uint8]
) -> None:
    int8, _ = quantize_graph(parse(EVERY_OPERATOR, **CONSTANTS), pictures)
    arrays = {name: value.const_value.numpy() for name, value in int8.graph.initializers.items()}
    assert {name for name, array in arrays.items() if array.dtype == np.float32 and array.size > 32} == set()
    assert arrays["w3_quantized"].dtype == np.int8
    assert arrays["w3_scale"].shape == arrays["w3_zero_point"].shape == (16,)
    assert arrays["b1_quantized"].dtype == np.int32
    assert arrays["w6_scale"].shape == (20,)  # a Gemm without transB counts its outputs along axis 1
    assert int8.ir_version == 8
    assert int8.opset_imports == {"": 18}


def test_the_file_is_about_a_quarter(parse: Any, quantize_graph: Any, pictures: NDArray[np.uint8]) -> None:
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,64,4,4] y) { a = Conv(x, w1) b = Relu(a) y = Conv(b, w) }",
        w1=weight(64, 3, 3, 3),
        w=weight(64, 64, 3, 3),
    )
    int8, _ = quantize_graph(model, pictures)
    small, large = (len(ir.to_proto(made).SerializeToString()) for made in (int8, model))
    assert 0.25 < small / large < 0.3


def test_a_shared_scale_is_stored_once(parse: Any, quantize_graph: Any, pictures: NDArray[np.uint8]) -> None:
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,32,7,7] y) "
        "{ a = Conv(x, w1) b = Conv(x, w1) c = Concat<axis=1>(a, b) y = MaxPool<kernel_shape=[2,2]>(c) }",
        w1=weight(16, 3, 1, 1),
    )
    int8, _ = quantize_graph(model, pictures)
    quantizers = [node for node in int8.graph if node.op_type == "QuantizeLinear"]
    scales = {node.inputs[0].name: node.inputs[1].name for node in quantizers}
    assert scales == {"x": "x_scale", "a": "c_scale", "b": "c_scale", "c": "c_scale", "y_float": "c_scale"}


def test_the_output_keeps_name_and_type(parse: Any, run: Any, quantize_graph: Any, pictures: NDArray[np.uint8]) -> None:
    model = parse("g (float[N,3,8,8] x) => (float[N,16,6,6] y) { a = Conv(x, w1) y = Relu(a) }", w1=CONSTANTS["w1"])
    int8, _ = quantize_graph(model, pictures)
    (output,) = int8.graph.outputs
    assert (output.name, output.dtype) == ("y", ir.DataType.FLOAT)
    reference = run(model, x=floats(pictures))[0]
    assert decibels(reference, run(int8, x=floats(pictures))[0]) > 35


def test_dead_channels_and_dead_tensors(parse: Any, run: Any, quantize_graph: Any) -> None:
    dead = CONSTANTS["w1"].copy()
    dead[3] = 0
    bias = CONSTANTS["b1"].copy()
    bias[3] = 50
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,6,6] y) { a = Conv(x, w1, b1) n = Conv(x, none) r = Relu(n) y = Add(a, r) }",
        w1=dead,
        b1=bias,
        none=np.zeros((16, 3, 3, 3), np.float32),
    )
    pictures = np.zeros((4, 8, 8, 3), np.uint8)
    int8, _ = quantize_graph(model, pictures)
    scales = [constant(value) for name, value in int8.graph.initializers.items() if name.endswith("_scale")]
    assert all(scale is not None and np.all(scale > 0) for scale in scales)
    reference = run(model, x=floats(pictures))[0]
    result = run(int8, x=floats(pictures))[0]
    assert np.abs(result - reference).max() < 0.01 * np.abs(reference).max()


def test_weights_that_are_not_finite_name_their_node(parse: Any, quantize_graph: Any) -> None:
    broken = CONSTANTS["w3"].copy()
    broken[0] = np.inf
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,8,8] y) { a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) y = Conv(r, w3) }",
        w1=np.zeros((16, 3, 3, 3), np.float32),
        w3=broken,
    )
    with pytest.raises(QuantizeError, match=r"conv_2 \(Conv\)"):
        quantize_graph(model, np.zeros((2, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "between",
    ["s = Add(r, less) t = Relu(s)", "s = Add(r, less) t = Clip(s, zero, half)", "t = Pad(r, around, less)"],
    ids=["a shift before a Relu", "a shift before a Clip", "a Pad with a number"],
)
@pytest.mark.parametrize("target", ["cpu-x86", "cpu-arm", "openvino", "trt"])
def test_work_on_bytes_loses_no_clip_and_no_filling(
    parse: Any, run: Any, quantize_graph: Any, pictures: NDArray[np.uint8], between: str, target: str
) -> None:
    constants = {"less": np.float32(-0.4), "zero": np.float32(0), "half": np.float32(0.5)}
    if "Pad" in between:
        constants["less"] = np.float32(0.7)
    model = parse(
        "g (float[N,3,8,8] x) => (float[N,16,h,w] y) "
        f"{{ a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) {between} y = Conv<pads=[0,0,0,0]>(t, w1b) }}",
        w1=CONSTANTS["w1"],
        w1b=weight(16, 16, 3, 3),
        around=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        **constants,
    )
    int8, _ = quantize_graph(model, pictures, target=target)
    assert decibels(run(model, x=floats(pictures))[0], run(int8, x=floats(pictures))[0]) > 25
