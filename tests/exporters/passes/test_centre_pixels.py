from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecnn.exporters.passes.centre_pixels import CentrePixels, pixel_limits
from edgecnn.exporters.passes.read_bytes import ReadBytes

IMAGENET = (123.675, 116.28, 103.53)
START = "t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t) s = Sub(f, m) "


def means(*values: float) -> Any:
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def pixels(*shape: int) -> Any:
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def graph(channels: int, text: str, start: str = START) -> str:
    return f"g (uint8[N,9,7,{channels}] x) => (float[N,o,h,w] y) {{ {start} {text} }}"


def only(model: Any, op_type: str) -> Any:
    (node,) = [node for node in model.graph if node.op_type == op_type]
    return node


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    channels=st.sampled_from([1, 3]),
    outputs=st.sampled_from([1, 15, 16, 20]),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pads=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    has_bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_computes_the_same_at_the_borders_too(
    parse: Any,
    exact: Any,
    channels: int,
    outputs: int,
    kernel: int,
    stride: int,
    pads: list[int],
    has_bias: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    window = f"kernel_shape=[{kernel},{kernel}], strides=[{stride},{stride}], pads={pads}"
    constants = {"m": means(*rng.uniform(0, 255, channels))}
    constants["w"] = rng.standard_normal((outputs, channels, kernel, kernel)).astype(np.float32) / 57
    if has_bias:
        constants["b"] = rng.standard_normal(outputs).astype(np.float32)
    model = parse(graph(channels, f"y = Conv<{window}>(s, w{', b' if has_bias else ''})"), **constants)
    changed = exact(model, CentrePixels(), pixels(1, 9, 7, channels), np.full((2, 9, 7, channels), 255, np.uint8))
    assert changed == (outputs >= 16 or kernel == 1)


@pytest.mark.parametrize("window", ["pads=[1,1,1,1]", "pads=[0,0,0,0]"])
@pytest.mark.parametrize("mean", [IMAGENET, (72.9,)])
def test_fast_kernels_get_four_channels(parse: Any, ops: Any, random: Any, mean: Any, window: str) -> None:
    model = parse(graph(len(mean), f"y = Conv<{window}>(s, w)"), m=means(*mean), w=random(16, len(mean), 3, 3))
    CentrePixels()(model)
    assert ops(model)[-7:] == ["Reshape", "Transpose", "Pad", "Reshape", "Cast", "Sub", "Conv"]
    assert only(model, "Conv").inputs[1].shape == (16, 4, 3, 3)
    assert only(model, "Sub").inputs[1].const_value.numpy() == round(float(np.mean(mean)))
    assert pixel_limits(only(model, "Sub").outputs[0]) == (-round(np.mean(mean)), 255 - round(np.mean(mean)))


def test_further_weights_are_as_fine_as_the_others(parse: Any, random: Any) -> None:
    model = parse(graph(3, "y = Conv<pads=[1,1,1,1]>(s, w)"), m=means(*IMAGENET), w=random(16, 3, 3, 3))
    CentrePixels()(model)
    weight = only(model, "Conv").inputs[1].const_value.numpy()
    greatest = np.abs(weight).max(axis=(2, 3))
    assert (greatest[:, 3] <= greatest[:, :3].max(axis=1)).all()
    assert greatest[:, 3].max() > 0.3 * greatest.max(), "a smaller value inside would do"


def test_several_convolutions(parse: Any, exact: Any, random: Any) -> None:
    text = "a = Conv<pads=[1,1,1,1]>(s, w1, b) c = Conv(s, w2) d = Conv<pads=[0,0,0,0], strides=[1,1]>(a, w3) y = Add(c, d)"
    model = parse(
        graph(3, text),
        m=means(*IMAGENET),
        w1=random(16, 3, 3, 3),
        b=random(16),
        w2=random(16, 3, 3, 3),
        w3=random(16, 16, 3, 3),
    )
    assert exact(model, CentrePixels(), pixels(2, 9, 7, 3))


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("c = Conv(s, w) r = Relu(s) q = Conv(r, w) y = Add(c, q)", START),
        ("y = Conv<group=3>(s, k)", START),
        ('y = Conv<auto_pad="SAME_UPPER">(s, w)', START),
        ("y = Conv(s, w)", "t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t) r = Relu(f) s = Sub(r, m)"),
        ("y = Conv(s, n)", START),
    ],
    ids=["another reader", "groups", "automatic padding", "not the pixels", "few outputs"],
)
def test_left_alone(parse: Any, ops: Any, random: Any, text: str, start: str) -> None:
    constants = {"w": random(16, 3, 3, 3), "k": random(18, 1, 3, 3), "n": random(8, 3, 3, 3), "m": means(*IMAGENET)}
    model = parse(graph(3, text, start), **constants)
    before = ops(model)
    assert not CentrePixels()(model)
    assert ops(model) == before
    assert CentrePixels(min_channels=8)(model) == (" n)" in text)


@pytest.mark.parametrize(("scale", "zero", "goes"), [(1.0, 114, True), (0.5, 114, False), (1.0, 113, False)])
def test_a_quantizer_that_gives_the_bytes_back_goes(
    parse: Any, ops: Any, exact: Any, scale: float, zero: int, goes: bool
) -> None:
    model = parse(
        "g (uint8[N,9,7,3] x) => (float[N,3,9,7] y) { t = Transpose<perm=[0,3,1,2]>(x) f = Cast<to=1>(t) "
        "s = Sub(f, m) q = QuantizeLinear(s, a, z) y = DequantizeLinear(q, a, z) }",
        m=np.asarray(114, np.float32),
        a=np.asarray(scale, np.float32),
        z=np.asarray(zero, np.uint8),
    )
    assert exact(model, ReadBytes(), pixels(2, 9, 7, 3)) == goes
    assert ("QuantizeLinear" in ops(model)) != goes


@pytest.mark.parametrize(
    "start",
    [
        "f = Cast<to=1>(x) s = Sub(f, m)",
        "t = Transpose<perm=[0,3,2,1]>(x) f = Cast<to=1>(t) s = Sub(f, m)",
        "t = Transpose<perm=[0,3,1,2]>(x) p = Pad(t, around) f = Cast<to=1>(p) s = Sub(f, m)",
    ],
    ids=["channels first already", "turned", "padded"],
)
def test_pixels_in_another_place_stay(parse: Any, ops: Any, random: Any, start: str) -> None:
    around = np.asarray([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    text = f"g (uint8[N,3,3,3] x) => (float[N,16,h,w] y) {{ {start} y = Conv<pads=[1,1,1,1]>(s, w) }}"
    model = parse(text, m=means(*IMAGENET), w=random(16, 3, 3, 3), around=around)
    before = ops(model)
    assert not CentrePixels()(model)
    assert ops(model) == before
