from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.centre_pixels import CentrePixels
from edgecnn.exporters.passes.group_pixels import GroupPixels
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.emit import emit
from edgecnn.exporters.quantize.placement import place
from edgecnn.exporters.quantize.ranges import Range

Array = NDArray[Any]

IMAGENET = (123.675, 116.28, 103.53)
BEYOND = (124, 116, 104)
GAINS = "edgecnn.exporters.passes.group_pixels._gains"


def int8_graph(parse: Any, window: str, *, batch: int | str = "N", size: str = "48,48", **given: Any) -> Any:
    """Return a quantized graph of one convolution, a Relu and a depthwise convolution that starts with pixels."""
    channels = len(given["m"])
    text = (
        f"g (uint8[{batch},{size},{channels}] x) => (float[{batch},16,h,w] y) "
        "{ t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t) s = Sub(f, m) "
        f"c = Conv<{window}>(s, k{', b' if 'b' in given else ''}) r = Relu(c) y = Conv<group=16, kernel_shape=[1,1]>(r, d) }}"
    )
    given["m"] = np.asarray(given["m"], np.float32).reshape(1, -1, 1, 1)
    model = parse(text, d=np.ones((16, 1, 1, 1), np.float32), **given)
    CentrePixels()(model)
    DropUnused()(model)
    config = QuantizeConfig(without_passes=("group-pixels",))
    placement = place(model, form=config.form, keep_float=(), min_channels=1)
    emit(
        model,
        placement,
        {str(value.name): Range(-3 if value.name == "y" else 0, 3) for value in placement.observed},
        config,
    )
    return model


def kernel(channels: int, tall: int, wide: int, seed: int = 0) -> Array:
    """Return weights under which random pixels give results of about one."""
    values = np.random.default_rng(seed).standard_normal((16, channels, tall, wide))
    return (values / (60 * np.sqrt(channels * tall * wide))).astype(np.float32)


def answer(model: Any, image: Array) -> Array:
    """Return what the engine computes with all its integer kernels."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": image})[0]
    return found


def reference(model: Any, image: Array, pads: list[int], strides: tuple[int, int]) -> Array:
    """Return what a graph of `int8_graph` gives for images with the rounded means around them."""
    channels, (top, left, bottom, right) = image.shape[3], pads
    framed = np.empty((len(image), top + image.shape[1] + bottom, left + image.shape[2] + right, channels), np.int64)
    framed[:] = np.asarray(BEYOND[:channels])
    framed[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    layer = next(node for node in model.graph if node.op_type == "Conv")
    source, weight, *bias = (value.producer() for value in layer.inputs)
    integers = weight.inputs[0].const_value.numpy().astype(np.int64)
    scale = weight.inputs[1].const_value.numpy().astype(np.float64)
    zero = int(source.inputs[2].const_value.numpy())
    windows = np.lib.stride_tricks.sliding_window_view(framed - zero, integers.shape[2:], axis=(1, 2))
    sums = np.einsum("nhwcij,ocij->nohw", windows[:, :: strides[0], :: strides[1]], integers[:, :channels])
    inside = next(node for node in model.graph if node.op_type == "Pad").inputs[2].const_value.numpy().item() - zero
    sums += inside * integers[:, channels:].sum(axis=(1, 2, 3))[:, None, None]
    for node in bias:
        sums += node.inputs[0].const_value.numpy().astype(np.int64)[:, None, None]
    exact: Array = sums * scale.reshape(-1, 1, 1)
    return np.clip(exact, 0, 3)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    channels=st.sampled_from([1, 3]),
    tall=st.integers(2, 5),
    wide=st.integers(1, 7),
    strides=st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 4])),
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    height=st.integers(9, 14),
    width=st.integers(9, 21),
    batch=st.sampled_from(["N", 1, 3]),
    has_bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_computes_what_the_image_with_its_border_gives(
    parse: Any,
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    tall: int,
    wide: int,
    strides: tuple[int, int],
    pads: list[int],
    height: int,
    width: int,
    batch: int | str,
    has_bias: bool,
    seed: int,
) -> None:
    monkeypatch.setattr(GAINS, lambda *_: True)
    rng = np.random.default_rng(seed)
    given = {"m": IMAGENET[:channels], "k": kernel(channels, tall, wide, seed)}
    if has_bias:
        given["b"] = rng.standard_normal(16).astype(np.float32)
    window = f"kernel_shape=[{tall},{wide}], strides=[{strides[0]},{strides[1]}], pads={pads}"
    model = int8_graph(parse, window, batch=batch, size=f"{height},{width}", **given)
    image = rng.integers(0, 256, (3 if batch == "N" else batch, height, width, channels), np.uint8)
    expected = reference(model, image, pads, strides)
    assume(GroupPixels()(model))
    DropUnused()(model)
    assert not GroupPixels()(model), "a second run found something more"
    # Rounded to steps of 3/255, and to those of 6/255 behind the second convolution.
    assert np.abs(answer(model, image) - expected).max() < (3 / 255 + 6 / 255) / 2 + 1e-3


@pytest.mark.parametrize(("side", "stride", "pad"), [(3, 2, 1), (3, 2, 0), (7, 2, 3), (11, 4, 2), (5, 2, 2)], ids=str)
@pytest.mark.parametrize("batch", ["N", 2])
def test_inside_the_image_nothing_changes(
    parse: Any, ops: Callable[[Any], list[str]], side: int, stride: int, pad: int, batch: int | str
) -> None:
    """The usual first layers, at a size where it gains; the border changes by what its rounding makes of it."""
    size = 96 + side - stride if not pad else 96
    window = f"kernel_shape=[{side},{side}], strides=[{stride},{stride}], pads=[{pad},{pad},{pad},{pad}]"
    model = int8_graph(parse, window, batch=batch, size=f"{size},{size}", m=IMAGENET, k=kernel(3, side, side))
    image = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    before = answer(model, image)
    assert GroupPixels()(model)
    DropUnused()(model)
    assert {"Pad", "Cast"}.isdisjoint(ops(model))
    after = answer(model, image)
    beyond = -(-pad // stride)
    inner = (slice(None), slice(None), slice(beyond, -beyond or None), slice(beyond, -beyond or None))
    assert np.array_equal(before[inner], after[inner])
    assert np.abs(before - after).max() < 0.2


def test_the_engine_moves_no_bytes(parse: Any, fused: Callable[[Any], dict[str, int]]) -> None:
    window = "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]"
    model = int8_graph(parse, window, size="96,96", m=IMAGENET, k=kernel(3, 3, 3))
    assert fused(model)["Transpose"] == 3
    GroupPixels()(model)
    DropUnused()(model)
    nodes = fused(model)
    assert nodes["Transpose"] == 1, "the one in front of the output"
    assert nodes["QLinearConv"] == 2


@pytest.mark.parametrize(
    ("window", "size"),
    [
        ("kernel_shape=[1,1], strides=[1,1]", "96,96"),
        ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]", "16,16"),
        ("kernel_shape=[3,3], strides=[2,2]", "96,96"),
        ("kernel_shape=[3,3], strides=[2,2], dilations=[2,2], pads=[2,2,2,2]", "96,96"),
    ],
    ids=["many products with zeros", "a small image", "an odd row of results", "dilated"],
)
def test_left_alone(parse: Any, ops: Callable[[Any], list[str]], window: str, size: str) -> None:
    side = int(window[14])
    model = int8_graph(parse, window, size=size, m=IMAGENET, k=kernel(3, side, side))
    before = ops(model)
    assert not GroupPixels()(model)
    assert ops(model) == before


def test_old_operator_sets_are_left_alone(parse: Any) -> None:
    window = "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]"
    model = int8_graph(parse, window, size="96,96", m=IMAGENET, k=kernel(3, 3, 3))
    model.graph.opset_imports[""] = 14
    assert not GroupPixels()(model)
