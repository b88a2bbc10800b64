"""Small networks in the int8 form of every target: valid, close to fp32, and what the engine makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from edgecnn.exporters.targets import TARGETS, find_target

Array = NDArray[Any]

INT8_TARGETS = tuple(name for name in TARGETS if "int8" in find_target(name).takes)
NETWORKS = ("plain", "residual", "projection", "inception", "depthwise", "squeeze-excite", "linear")

HEAD = "p = GlobalAveragePool({}) f = Flatten(p) y = Gemm<transB=1>(f, head, hb)"
BODIES = {
    "plain": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) m = MaxPool<kernel_shape=[2,2],strides=[2,2]>(r) "
    "c = Conv<pads=[1,1,1,1]>(m, w2, b1) t = Relu(c) " + HEAD.format("t"),
    "residual": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b1) d = Relu(c) "
    "e = Conv<pads=[1,1,1,1]>(d, w3, b1) s = Add(e, r) t = Relu(s) g = Conv(t, w4) u = Relu(g) " + HEAD.format("u"),
    "projection": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv(r, w4) e = Conv<pads=[1,1,1,1]>(r, w3, b1) "
    "s = Add(e, c) t = Relu(s) g = Conv(t, w4) u = Relu(g) " + HEAD.format("u"),
    "inception": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv(r, w4) d = Relu(c) "
    "e = Conv<pads=[1,1,1,1]>(r, w2) g = Relu(e) m = MaxPool<kernel_shape=[3,3],pads=[1,1,1,1]>(r) k = Conv(m, w5) "
    "l = Relu(k) z = Concat<axis=1>(d, g, l) n = Conv(z, w6) t = Relu(n) " + HEAD.format("t"),
    "depthwise": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip(a, zero, six) c = Conv<pads=[1,1,1,1],group=16>(r, dw, b1) "
    "d = Clip(c, zero, six) e = Conv(d, w4, b1) t = Clip(e, zero, six) " + HEAD.format("t"),
    "squeeze-excite": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) q = GlobalAveragePool(r) c = Conv(q, w4, b1) "
    "d = Relu(c) e = Conv(d, w5, b1) g = Sigmoid(e) s = Mul(r, g) h = Conv(s, w4) t = LeakyRelu(h) k = Conv(t, w5) "
    "u = Relu(k) " + HEAD.format("u"),
    "linear": "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) q = GlobalAveragePool(r) f = Flatten(q) "
    "g = Gemm<alpha=0.5>(f, l1, b1) t = Relu(g) k = MatMul(t, l1) u = Relu(k) y = Gemm<transB=1>(u, head, hb)",
}
MAKERS = ("Conv", "Gemm", "MatMul")


def weight(seed: int, *shape: int) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


CONSTANTS = {
    "w1": weight(1, 16, 3, 3, 3),
    "w2": weight(2, 16, 16, 3, 3),
    "w3": weight(3, 16, 16, 3, 3),
    "w4": weight(4, 16, 16, 1, 1),
    "w5": weight(5, 16, 16, 1, 1),
    "w6": weight(6, 16, 48, 1, 1),
    "dw": weight(7, 16, 1, 3, 3),
    "l1": weight(8, 16, 16),
    "head": weight(9, 10, 16),
    "b1": weight(10, 16, 16)[0] * np.float32(0.3),
    "hb": np.linspace(-0.1, 0.1, 10, dtype=np.float32),
    "zero": np.float32(0),
    "six": np.float32(6),
}


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(5).integers(0, 256, (64, 4, 4, 3))
    return coarse.repeat(3, axis=1).repeat(3, axis=2).astype(np.uint8)


def floats(pictures: NDArray[np.uint8]) -> Array:
    return ((pictures.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def make(parse: Any, quantize_graph: Any, pictures: NDArray[np.uint8]) -> Callable[..., tuple[Any, Any, Any]]:
    """`make(network, target)`: fp32 graph, int8 graph and placement; each is made once."""
    made: dict[tuple[str, str], tuple[Any, Any, Any]] = {}

    def make(network: str, target: str) -> tuple[Any, Any, Any]:
        if (network, target) not in made:
            text = f"g (float[N,3,12,12] x) => (float[N,10] y) {{ {BODIES[network]} }}"
            names = {name: array for name, array in CONSTANTS.items() if f"{name})" in text or f"{name}," in text}
            model = parse(text, **names)
            made[network, target] = (model, *quantize_graph(model, pictures, target=target))
        return made[network, target]

    return make


def producers(node: Any, index: int) -> tuple[str, ...]:
    """Operators back from an input: the producer, its producer, ..."""
    value, found = node.inputs[index], []
    while value is not None and value.producer() is not None and len(found) < 4:
        found.append(value.producer().op_type)
        value = value.producer().inputs[0]
    return tuple(found)


@pytest.mark.parametrize("target", INT8_TARGETS)
@pytest.mark.parametrize("network", NETWORKS)
def test_valid_and_close_to_fp32(make: Any, run: Any, pictures: NDArray[np.uint8], network: str, target: str) -> None:
    model, int8, _ = make(network, target)
    onnx.checker.check_model(ir.to_proto(int8), full_check=True)
    reference, answer = run(model, x=floats(pictures))[0], run(int8, x=floats(pictures))[0]
    agreement = np.mean(reference.argmax(axis=1) == answer.argmax(axis=1))
    noise = np.sum((reference - answer) ** 2) / np.sum((reference - reference.mean(axis=0)) ** 2)
    assert agreement >= 0.9
    assert noise < 0.02  # 17 dB, on top of what all pictures have in common


@pytest.mark.parametrize("network", NETWORKS)
def test_signed_and_unsigned_activations_compute_the_same(
    make: Any, run: Any, pictures: NDArray[np.uint8], network: str
) -> None:
    one, other = make(network, "cpu-x86")[1], make(network, "cpu-arm")[1]
    np.testing.assert_array_equal(run(one, x=floats(pictures))[0], run(other, x=floats(pictures))[0])


FUSED = {
    "plain": {"QLinearConv": 2, "QLinearGlobalAveragePool": 1, "QGemm": 1, "NhwcMaxPool": 1},
    "residual": {"QLinearConv": 4, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "projection": {"QLinearConv": 4, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "inception": {"QLinearConv": 5, "QLinearConcat": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1, "NhwcMaxPool": 1},
    "depthwise": {"QLinearConv": 3, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "squeeze-excite": {
        "QLinearConv": 5,
        "QLinearGlobalAveragePool": 2,
        "QGemm": 1,
        "QLinearSigmoid": 1,
        "QLinearLeakyRelu": 1,
        "QLinearMul": 1,
    },
    "linear": {"QLinearConv": 1, "QLinearGlobalAveragePool": 1, "QGemm": 2, "QLinearMatMul": 1},
}
MOVING = ("QuantizeLinear", "DequantizeLinear", "Transpose", "Reshape", "Flatten", "Pad")


@pytest.mark.parametrize(("target", "as_arm"), [("cpu-x86", False), ("cpu-arm", True), ("cpu-x86,cpu-arm", True)])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_engine_fuses_all_of_it(make: Any, fused: Any, network: str, target: str, as_arm: bool) -> None:
    found = fused(make(network, target)[1], as_arm=as_arm)
    assert {name: count for name, count in found.items() if name not in MOVING} == FUSED[network]
    assert found["QuantizeLinear"] == 1  # the image
    assert found.get("DequantizeLinear", 0) == 0
