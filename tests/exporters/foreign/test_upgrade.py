"""Operators whose form changed from one operator set to another: the same answers in another set, up and down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import onnx

from edgecnn.errors import UnsupportedOp
from edgecnn.exporters.foreign.upgrade import upgrade

Array = NDArray[Any]

i64 = np.int64
F = np.float32

# Name -> (operator sets, what is computed from x [2, 4, 6, 6], constants).
CASES: dict[str, tuple[range, str, dict[str, Array]]] = {
    "upsample nearest": (range(7, 9), 'y = Upsample<mode="nearest", scales=[1.0, 1.0, 1.5, 2.0]>(x)', {}),
    "upsample linear": (range(7, 9), 'y = Upsample<mode="linear", scales=[1.0, 1.0, 2.0, 2.0]>(x)', {}),
    "upsample by input": (range(9, 10), 'y = Upsample<mode="linear">(x, s)', {"s": np.array([1, 1, 2, 1.5], F)}),
    "resize linear": (range(10, 11), 'y = Resize<mode="linear">(x, s)', {"s": np.array([1, 1, 0.5, 2], F)}),
    "resize nearest": (range(10, 11), 'y = Resize<mode="nearest">(x, s)', {"s": np.array([1, 1, 1.5, 2], F)}),
    "clip": (range(7, 11), "y = Clip<min=-0.5, max=0.5>(x)", {}),
    "pad": (range(7, 11), 'y = Pad<mode="constant", pads=[0,0,1,1,0,0,1,2], value=0.5>(x)', {}),
    "squeeze": (range(7, 13), "u = Unsqueeze<axes=[0,3]>(x)  y = Squeeze<axes=[3]>(u)", {}),
    "slice": (range(7, 10), "y = Slice<axes=[2,3], starts=[1,0], ends=[5,9999]>(x)", {}),
    "split": (range(7, 13), "a, b = Split<axis=1, split=[1,3]>(x)  y = Concat<axis=1>(b, a)", {}),
    "mean": (range(7, 18), "y = ReduceMean<axes=[2,3], keepdims=1>(x)", {}),
    "sum": (range(8, 13), "y = ReduceSum<axes=[1], keepdims=0>(x)", {}),
    "softmax of two dimensions": (range(7, 18), "f = Flatten(x)  y = Softmax(f)", {}),
    "softmax of four": (range(7, 13), "y = Softmax<axis=1>(x)", {}),
    "dropout": (range(7, 12), "y = Dropout<ratio=0.5>(x)", {}),
    "batch norm": (
        range(7, 18),
        "y = BatchNormalization<epsilon=1e-3>(x, s, t, m, v)",
        {"s": np.array([1, 2, 3, 4], F), "t": np.ones(4, F), "m": np.arange(4).astype(F), "v": np.full(4, 0.5, F)},
    ),
    "gemm": (
        range(7, 18),
        "f = Flatten(x)  y = Gemm<transB=1>(f, w, b)",
        {"w": np.eye(3, 144, dtype=F), "b": np.ones(3, F)},
    ),
    "local response norm": (range(7, 18), "y = LRN<size=3, alpha=0.001>(x)", {}),
}


def model_of(text: str, opset: int, constants: dict[str, Array]) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(
        f'<ir_version: 4, opset_import: ["": {opset}]> g (float[2,4,6,6] x) => (float[N,M,H,W] y) {{ {text} }}'
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in constants.items())
    return proto


def run(proto: onnx.ModelProto, x: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return np.asarray(y)


@pytest.mark.parametrize(
    ("name", "found"), [(name, opset) for name, case in CASES.items() for opset in sorted({case[0][0], case[0][-1]})]
)
@pytest.mark.parametrize("wanted", [18, 21])
def test_an_old_operator_computes_the_same_today(name: str, found: int, wanted: int) -> None:
    _, text, constants = CASES[name]
    x = np.random.default_rng(2).standard_normal((2, 4, 6, 6)).astype(F)
    expected = run(model_of(text, found, constants), x)
    upgraded = upgrade(model_of(text, found, constants), wanted, "x.onnx")
    assert [(one.domain, one.version) for one in upgraded.opset_import] == [("", wanted)]
    np.testing.assert_allclose(run(upgraded, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["y = Gelu(x)", "y = GroupNormalization<num_groups=2>(x, s, t)"])
def test_an_operator_without_an_older_form_is_named(text: str) -> None:
    constants = {"s": np.ones(4, F), "t": np.ones(4, F)} if "(x, s, t)" in text else {}
    proto = model_of(text, 21, constants)
    proto.graph.node[0].name = "the_node"
    wanted = 19 if "Gelu" in text else 18
    with pytest.raises(
        UnsupportedOp, match=rf"'the_node' \({proto.graph.node[0].op_type}\).*from operator set 21 to {wanted}"
    ):
        upgrade(proto, wanted, "x.onnx")


def test_large_weights_are_the_same_objects_afterwards() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 144)).astype(F)
    proto = model_of("f = Flatten(x)  y = Gemm<transB=1>(f, w)", 9, {"w": weight})
    upgraded = upgrade(proto, 18, "x.onnx")
    (kept,) = (one for one in upgraded.graph.initializer if one.name == "w")
    assert np.array_equal(onnx.numpy_helper.to_array(kept), weight)
    assert [value.name for value in upgraded.graph.input] == ["x"]
