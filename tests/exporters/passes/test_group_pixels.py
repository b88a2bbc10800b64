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

from edgecnn.exporters.layerpairs import match_tensors
from edgecnn.exporters.passes import DropUnused
from edgecnn.exporters.passes.centre_pixels import CentrePixels
from edgecnn.exporters.passes.group_pixels import GroupPixels
from edgecnn.exporters.passes.values import add_constant
from edgecnn.exporters.quantize import QuantizeConfig
from edgecnn.exporters.quantize.emit import emit
from edgecnn.exporters.quantize.placement import place
from edgecnn.exporters.quantize.ranges import Range

Array = NDArray[Any]

IMAGENET = (123.675, 116.28, 103.53)
BEYOND = (124, 116, 104)
GAINS = "edgecnn.exporters.passes.group_pixels._gains"


CHAIN = "c = Conv<WINDOW>(s, k) r = Relu(c) y = Conv<group=16, kernel_shape=[1,1]>(r, d)"
STEM = "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]"


def int8_graph(
    parse: Any,
    window: str,
    *,
    layers: str = CHAIN,
    batch: int | str = "N",
    size: str = "96,96",
    per_channel: bool = True,
    **given: Any,
) -> Any:
    """Return a quantized graph that starts with pixels; results of Relu are called r."""
    channels = len(given["m"])
    layers = layers.replace("WINDOW", window).replace("(s, k)", "(s, k, b)" if "b" in given else "(s, k)")
    given["m"] = np.asarray(given["m"], np.float32).reshape(1, -1, 1, 1)
    start = "t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t) s = Sub(f, m)"
    head = f"g (uint8[{batch},{size},{channels}] x) => (float[{batch},o,h,w] y)"
    model = parse(f"{head} {{ {start} {layers} }}", d=np.ones((16, 1, 1, 1), np.float32), **given)
    CentrePixels()(model)
    DropUnused()(model)
    config = QuantizeConfig(without_passes=("group-pixels",), per_channel=per_channel)
    placement = place(model, form=config.form, keep_float=(), min_channels=1)
    ranges = {str(value.name): Range(0 if value.name == "r" else -3, 3) for value in placement.observed}
    emit(model, placement, ranges, config)
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
    strides=st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 8])),
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    height=st.integers(9, 14),
    width=st.integers(9, 21),
    batch=st.sampled_from(["N", 1, 3]),
    has_bias=st.booleans(),
    per_channel=st.booleans(),
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
    per_channel: bool,
    seed: int,
) -> None:
    monkeypatch.setattr(GAINS, lambda *_: True)
    rng = np.random.default_rng(seed)
    given = {"m": IMAGENET[:channels], "k": kernel(channels, tall, wide, seed)}
    if has_bias:
        given["b"] = rng.standard_normal(16).astype(np.float32)
    window = f"kernel_shape=[{tall},{wide}], strides=[{strides[0]},{strides[1]}], pads={pads}"
    model = int8_graph(parse, window, batch=batch, size=f"{height},{width}", per_channel=per_channel, **given)
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


def test_several_readers_of_the_result(parse: Any) -> None:
    layers = "c = Conv<WINDOW>(s, k) r = Relu(c) e = Conv<group=16, kernel_shape=[1,1]>(r, d) y = Add(e, r)"
    model = int8_graph(parse, STEM, layers=layers, m=IMAGENET, k=kernel(3, 3, 3))
    image = np.random.default_rng(1).integers(0, 256, (2, 96, 96, 3), np.uint8)
    before = answer(model, image)
    assert GroupPixels()(model)
    assert np.array_equal(before[:, :, 1:, 1:], answer(model, image)[:, :, 1:, 1:])


def test_bytes_at_the_end_of_a_row_that_no_window_reads(parse: Any) -> None:
    model = int8_graph(parse, "kernel_shape=[2,2], strides=[4,4]", size="96,99", m=IMAGENET, k=kernel(3, 2, 2))
    image = np.random.default_rng(1).integers(0, 256, (2, 96, 99, 3), np.uint8)
    before = answer(model, image)
    assert GroupPixels()(model)
    assert np.array_equal(before, answer(model, image))


def test_the_engine_moves_no_bytes(parse: Any, fused: Callable[[Any], dict[str, int]]) -> None:
    model = int8_graph(parse, STEM, m=IMAGENET, k=kernel(3, 3, 3))
    assert fused(model)["Transpose"] == 3
    GroupPixels()(model)
    DropUnused()(model)
    nodes = fused(model)
    assert nodes["Transpose"] == 1, "the one in front of the output"
    assert nodes["QLinearConv"] == 2


def test_layers_are_found_as_before(parse: Any) -> None:
    """The names of tensors are what a comparison with the fp32 file goes by."""
    text = "g (float[N,3,96,96] s) => (float[N,16,h,w] y) { " + CHAIN.replace("WINDOW", STEM) + " }"
    reference = parse(text, k=kernel(3, 3, 3), d=np.ones((16, 1, 1, 1), np.float32))
    model = int8_graph(parse, STEM, m=IMAGENET, k=kernel(3, 3, 3))
    before = match_tensors(model, reference)
    assert GroupPixels()(model)
    after = match_tensors(model, reference)
    assert [pair.tensor for pair in after[0]] == [pair.tensor for pair in before[0]]
    assert after[1] == before[1]


@pytest.mark.parametrize(
    ("window", "size", "layers"),
    [
        ("kernel_shape=[1,1], strides=[1,1]", "96,96", CHAIN),
        ("kernel_shape=[2,2], strides=[1,1]", "97,97", CHAIN),
        (STEM, "16,16", CHAIN),
        ("kernel_shape=[3,3], strides=[2,2]", "96,96", CHAIN),
        ("kernel_shape=[3,3], strides=[2,2], dilations=[2,2], pads=[2,2,2,2]", "96,96", CHAIN),
        (STEM, "96,96", "c = Conv<WINDOW>(s, k) r = Relu(c) q = Conv<WINDOW>(s, k2) y = Add(r, q)"),
    ],
    ids=[
        *("three times the products", "twice the products", "a small image", "an odd row of results", "dilated"),
        "two that read the image",
    ],
)
def test_left_alone(parse: Any, ops: Callable[[Any], list[str]], window: str, size: str, layers: str) -> None:
    side = int(window[14])
    further = {"k2": kernel(3, side, side, seed=1)} if "k2" in layers else {}
    model = int8_graph(parse, window, size=size, layers=layers, m=IMAGENET, k=kernel(3, side, side), **further)
    before = ops(model)
    assert not GroupPixels()(model)
    assert ops(model) == before


@pytest.mark.parametrize("change", ["operator set", "float bias", "great bias", "scales", "output"])
def test_what_it_cannot_carry_over_stays(parse: Any, ops: Callable[[Any], list[str]], change: str) -> None:
    model = int8_graph(parse, STEM, m=IMAGENET, k=kernel(3, 3, 3), b=np.ones(16, np.float32))
    layer = next(node for node in model.graph if node.op_type == "Conv")
    quantizer = next(use.node for use in layer.outputs[0].uses())
    if change == "operator set":
        model.graph.opset_imports[""] = 14
    elif change == "float bias":
        layer.replace_input_with(2, add_constant(model.graph, "floats", np.ones(16, np.float32)))
    elif change == "great bias":
        great = np.full(16, np.iinfo(np.int32).max, np.int32)
        layer.inputs[2].producer().replace_input_with(0, add_constant(model.graph, "great", great))
        great_weights = np.full((16, 4, 3, 3), 127, np.int8)
        layer.inputs[1].producer().replace_input_with(0, add_constant(model.graph, "weights", great_weights))
    elif change == "scales":
        quantizer.replace_input_with(1, add_constant(model.graph, "scales", np.full(16, 0.1, np.float32)))
    else:
        model.graph.outputs.append(quantizer.outputs[0])
    before = ops(model)
    assert not GroupPixels()(model)
    assert ops(model) == before
