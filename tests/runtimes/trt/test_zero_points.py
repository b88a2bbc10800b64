"""Every form that TensorRT refuses or computes wrongly, as a small graph, and forms that it computes rightly.

The tests marked trt_build hold the table to TensorRT's own parser and builder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.errors import BadInput
from edgecnn.runtimes.trt.zero_points import check_quantization, quantization_problems
from edgecnn.testing.models import TINY, TINY_INT8

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

ZERO = np.int8(0)


def conv(**changes: Any) -> Any:
    """Return x -> Q -> DQ -> Conv(weights through DQ, bias) -> y, in the form that TensorRT takes, or changed."""
    form = {
        "zero": ZERO,
        "scale": np.float32(0.1),
        "weight_scale": None,
        "weight_zero": None,
        "bias": "float",
        **changes,
    }
    generator = np.random.default_rng(0)
    scales = form["weight_scale"]
    scales = np.full(8, 0.02, np.float32) if scales is None else scales
    zeros = form["weight_zero"]
    zeros = np.zeros(scales.shape, np.int8) if zeros is None else zeros
    constants = {
        "scale": np.asarray(form["scale"]),
        "weight": generator.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
        "weight_scale": scales,
        "weight_zero": zeros,
        "bias": generator.standard_normal(8).astype(np.float32),
    }
    zero = []
    if form["zero"] is not None:
        constants["zero"], zero = np.asarray(form["zero"]), ["zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", *zero], ["q"], name="the_q"),
        helper.make_node("DequantizeLinear", ["q", "scale", *zero], ["d"], name="the_dq"),
        helper.make_node(
            "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], name="the_weight_dq", axis=0
        ),
        helper.make_node("Conv", ["d", "w", "b"], ["c"], name="the_conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["y"], name="the_relu"),
    ]
    if form["bias"] == "int32":
        constants["bias"] = generator.integers(-99, 99, 8).astype(np.int32)
        constants["bias_scale"] = np.full(8, 0.002, np.float32)
        nodes.insert(0, helper.make_node("DequantizeLinear", ["bias", "bias_scale"], ["b"], name="the_bias_dq", axis=0))
    else:
        nodes.insert(0, helper.make_node("Identity", ["bias"], ["b"], name="the_bias"))
    return model(nodes, constants, channels=8)


def model(nodes: list[Any], constants: dict[str, Any], *, channels: int, opset: int = 19) -> Any:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, ["N", channels, 8, 8])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 9
    return made


def qlinear_conv() -> Any:
    constants = {
        "s": np.float32(0.1),
        "z": ZERO,
        "w": np.ones((8, 3, 1, 1), np.int8),
        "ws": np.float32(0.02),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "ws", "z", "s", "z"], ["c"], name="the_qlinear"),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"], name="dq"),
    ]
    return model(nodes, constants, channels=8)


def conv_integer() -> Any:
    constants = {"s": np.float32(0.1), "z": ZERO, "w": np.ones((8, 3, 1, 1), np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("ConvInteger", ["q", "w"], ["c"], name="the_integer"),
        helper.make_node("Cast", ["c"], ["y"], name="cast", to=onnx.TensorProto.FLOAT),
    ]
    return model(nodes, constants, channels=8)


def dynamic() -> Any:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="the_dynamic"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="dq"),
    ]
    return model(nodes, {}, channels=3)


def float_weights() -> Any:
    """The weights in float, through QuantizeLinear and DequantizeLinear, as a training tool writes them."""
    made = conv()
    for node in made.graph.node:
        if node.name == "the_weight_dq":
            node.input[0] = "weight_q"
    inputs = ["float_weight", "weight_scale", "weight_zero"]
    made.graph.node.insert(0, helper.make_node("QuantizeLinear", inputs, ["weight_q"], name="the_weight_q", axis=0))
    weight = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "float_weight"))
    return made


def pixels() -> Any:
    """Bytes as input, cast to float and quantized from there."""
    made = conv()
    made.graph.input[0].name = "bytes"
    made.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    made.graph.node.insert(0, helper.make_node("Cast", ["bytes"], ["x"], name="cast", to=onnx.TensorProto.FLOAT))
    return made


def one_zero_channel() -> Any:
    scales = np.full(8, 0.02, np.float32)
    scales[5] = 0
    return conv(weight_scale=scales)


# name: graph, the first node that is named, words of the reason, and whether TensorRT itself says nothing.
REJECTED: dict[str, tuple[Callable[[], Any], str, str, bool]] = {
    "int8 zero point 3": (lambda: conv(zero=np.int8(3)), "the_q", "zero point 3 instead of 0", False),
    "uint8 zero point 128": (lambda: conv(zero=np.uint8(128)), "the_q", "uint8 instead of int8", False),
    "uint8 zero point 0": (lambda: conv(zero=np.uint8(0)), "the_q", "cuts 128..255 down to 127", True),
    "no zero point": (lambda: conv(zero=None), "the_q", "no zero point", True),
    "int16": (lambda: conv(zero=np.int16(0)), "the_q", "int16 instead of int8", False),
    "uint16": (lambda: conv(zero=np.uint16(0)), "the_q", "uint16 instead of int8", False),
    "int32 bias": (lambda: conv(bias="int32"), "the_bias_dq", "int32, the bias", False),
    "scale 0": (lambda: conv(scale=np.float32(0)), "the_q", "scale 0 instead of one above 0", False),
    "negative scale": (lambda: conv(scale=np.float32(-0.1)), "the_q", "scale -0.1 instead", False),
    "scale 0 in one channel": (one_zero_channel, "the_weight_dq", "scale 0 in channel 5", False),
    "zero point 1 in one channel": (
        lambda: conv(weight_zero=np.array([0, 0, 1, 0, 0, 0, 0, 0], np.int8)),
        "the_weight_dq",
        "zero point 1 of channel 2",
        False,
    ),
    "QLinearConv": (qlinear_conv, "the_qlinear", "an operator on integers", False),
    "ConvInteger": (conv_integer, "the_integer", "an operator on integers", False),
    "DynamicQuantizeLinear": (dynamic, "the_dynamic", "an operator on integers", False),
}

ACCEPTED: dict[str, Callable[[], Any]] = {
    "per channel": conv,
    "weights in float": float_weights,
    "bytes as input": pixels,
    "per tensor": lambda: conv(weight_scale=np.float32(0.02), weight_zero=ZERO),
    "zero points in one more dimension": lambda: conv(zero=np.array([0], np.int8), scale=np.array([0.1], np.float32)),
}


def written(graph: Any, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(graph.SerializeToString())
    return path


@pytest.mark.parametrize("name", REJECTED)
def test_each_rejected_form_is_named(tmp_path: Path, name: str) -> None:
    graph, node, words, _ = REJECTED[name]
    path = written(graph(), tmp_path)
    problem = quantization_problems(path)[0]
    assert problem.node == node
    assert words in problem.reason
    with pytest.raises(BadInput, match="is not quantized for TensorRT") as caught:
        check_quantization(path)
    assert node in caught.value.message
    assert words in caught.value.message
    assert "edgecnn quantize" in caught.value.hint
    assert "--target trt" in caught.value.hint


@pytest.mark.parametrize("name", ACCEPTED)
def test_each_accepted_form_passes(tmp_path: Path, name: str) -> None:
    check_quantization(written(ACCEPTED[name](), tmp_path))


def test_float_files_pass_and_those_for_processors_do_not() -> None:
    check_quantization(TINY)
    with pytest.raises(BadInput) as caught:
        check_quantization(TINY_INT8)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
    assert "more" in caught.value.message  # the nodes of a kind are counted, not all listed
    quantized = {"QuantizeLinear", "DequantizeLinear"}
    assert {problem.op_type for problem in quantization_problems(TINY_INT8)} == quantized


def test_a_zero_point_that_is_computed_is_refused(tmp_path: Path) -> None:
    made = conv()
    (zero,) = [tensor for tensor in made.graph.initializer if tensor.name == "zero"]
    zero.name = "constant"
    made.graph.node.insert(0, helper.make_node("Abs", ["constant"], ["zero"]))
    assert "computed at run time" in quantization_problems(written(made, tmp_path))[0].reason


@pytest.fixture(scope="module")
def trt() -> Any:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")
    from edgecnn.runtimes.trt.package import load_trt

    return load_trt("tensorrt_rtx")


def plan_of(trt: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what TensorRT builds without the check before its parser."""
    from edgecnn.runtimes.trt import builder
    from edgecnn.runtimes.trt.options import BuildOptions

    monkeypatch.setattr(builder, "check_quantization", lambda path: None)
    options = BuildOptions(max_batch=4, opt_batch=4, workspace_bytes=1 << 28)
    return builder.build_plan(trt, path, options).plan


@pytest.mark.trt_build
@pytest.mark.parametrize("name", REJECTED)
def test_tensorrt_refuses_or_says_nothing(trt: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _, _, silent = REJECTED[name]
    path = written(graph(), tmp_path)
    if silent:
        assert plan_of(trt, path, monkeypatch)
        return
    with pytest.raises(BadInput, match="TensorRT does not read") as caught:
        plan_of(trt, path, monkeypatch)
    # The parser's own words, with a node of the graph.
    assert "node" in caught.value.message


@pytest.mark.trt_build
@pytest.mark.parametrize("name", ACCEPTED)
def test_tensorrt_builds_the_accepted_forms(
    trt: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan_of(trt, written(ACCEPTED[name](), tmp_path), monkeypatch)
