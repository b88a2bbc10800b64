"""The rewrites of the quantized graph: the same bytes come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.exporters.passes.align_channels import AlignChannels
from edgecnn.exporters.passes.pad_in_int8 import PadInInt8

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
SCALES = {
    "s": np.float32(0.02),
    "z": np.uint8(128),
    "s2": np.float32(0.03),
    "z2": np.uint8(100),
    "ws": RNG.uniform(0.01, 0.02, 16).astype(np.float32),
    "wz": np.zeros(16, np.int8),
}
IMAGE = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
WEIGHT = "k = DequantizeLinear<axis=0>(w, ws, wz) "


def integers(*shape: int) -> Array:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def test_a_pad_between_quantizers_moves_bytes(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        f"g (float[N,3,6,6] x) => (float[N,5,6,6] y) {{ {IMAGE} p = Pad(d, pads) "
        "r = QuantizeLinear(p, s, z) y = DequantizeLinear(r, s, z) }",
        pads=np.array([0, 1, 0, 0, 0, 1, 0, 0], np.int64),
        **SCALES,
    )
    before = run(model, x=X)[0]
    assert PadInInt8()(model)
    assert ops(model)[0:2] == ["QuantizeLinear", "DequantizeLinear"]
    assert "QuantizeLinear" not in ops(model)[2:]
    after = run(model, x=X)[0]
    assert np.array_equal(before, after)
    assert not after[:, [0, 4]].any()
    assert not PadInInt8()(model)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_a_pad_of_bytes_fills_in_what_it_did(parse: Any, run: Any, mode: str) -> None:
    model = parse(
        f'g (float[N,3,6,6] x) => (float[N,3,8,8] y) {{ {IMAGE} p = Pad<mode="{mode}">(d, pads, f) '
        "r = QuantizeLinear(p, s, z) y = DequantizeLinear(r, s, z) }",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        f=np.float32(0.33),
        **SCALES,
    )
    before = run(model, x=X)[0]
    assert PadInInt8()(model)
    assert np.array_equal(before, run(model, x=X)[0])


def test_a_pad_with_a_number_that_is_computed_stays(parse: Any) -> None:
    model = parse(
        f"g (float[N,3,6,6] x, float f) => (float[N,5,6,6] y) {{ {IMAGE} p = Pad(d, pads, f) "
        "r = QuantizeLinear(p, s, z) y = DequantizeLinear(r, s, z) }",
        pads=np.array([0, 1, 0, 0, 0, 1, 0, 0], np.int64),
        **SCALES,
    )
    assert not PadInInt8()(model)


@pytest.mark.parametrize(
    "body",
    [
        "p = Pad(d, pads) r = QuantizeLinear(p, s2, z) y = DequantizeLinear(r, s2, z)",
        "p = Pad(d, pads) r = QuantizeLinear(p, s, z2) y = DequantizeLinear(r, s, z2)",
        "p = Pad(x, pads) r = QuantizeLinear(p, s, z) y = DequantizeLinear(r, s, z)",
        "p = Pad(d, pads) y = Relu(p)",
    ],
    ids=["other scale", "other zero point", "float before", "float behind"],
)
def test_other_pads_stay(parse: Any, ops: Any, body: str) -> None:
    model = parse(
        f"g (float[N,3,6,6] x) => (float[N,5,6,6] y) {{ {IMAGE} {body} }}",
        pads=np.array([0, 1, 0, 0, 0, 1, 0, 0], np.int64),
        **SCALES,
    )
    before = ops(model)
    assert not PadInInt8()(model)
    assert ops(model) == before


def test_an_image_gets_a_fourth_channel(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        f"g (float[N,3,6,6] x) => (float[N,16,4,4] y) {{ {IMAGE} {WEIGHT} y = Conv(d, k) }}",
        w=integers(16, 3, 3, 3),
        **SCALES,
    )
    before = run(model, x=X)[0]
    assert AlignChannels()(model)
    assert ops(model).count("Pad") == 1
    assert model.graph[-1].inputs[0].shape == ["N", 4, 6, 6]
    assert model.graph[-1].inputs[1].shape == [16, 4, 3, 3]
    np.testing.assert_allclose(run(model, x=X)[0], before, rtol=1e-5, atol=1e-5)
    assert not AlignChannels()(model)


def test_one_copy_serves_all_convolutions_of_an_image(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        f"g (float[N,3,6,6] x) => (float[N,16,4,4] y, float[N,3,6,6] e) {{ {IMAGE} {WEIGHT} a = Conv(d, k) "
        "k2 = DequantizeLinear<axis=0>(w2, ws, wz) b = Conv(d, k2) y = Add(a, b) e = Relu(d) }",
        w=integers(16, 3, 3, 3),
        w2=integers(16, 3, 3, 3),
        **SCALES,
    )
    before = run(model, x=X)
    assert AlignChannels()(model)
    assert ops(model).count("Pad") == 1
    for one, other in zip(before, run(model, x=X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "weight"),
    [
        ("y = Conv(d, k)", (16, 3, 1, 1)),
        ("y = Conv(d, k)", (8, 3, 3, 3)),
        ("y = Conv(x, k)", (16, 3, 3, 3)),
        ("y = Conv<group=3>(d, k)", (16, 1, 3, 3)),
        ("r = Relu(d) q2 = QuantizeLinear(r, s, z) d2 = DequantizeLinear(q2, s, z) y = Conv(d2, k)", (16, 3, 3, 3)),
    ],
    ids=["one pixel", "few outputs", "float image", "groups", "not fresh"],
)
def test_other_convolutions_stay(parse: Any, ops: Any, body: str, weight: tuple[int, ...]) -> None:
    channels = weight[0] if "group" not in body else 15
    scales = {**SCALES, "ws": SCALES["ws"][:channels], "wz": SCALES["wz"][:channels]}
    model = parse(
        f"g (float[N,3,6,6] x) => (float[N,c,h,w] y) {{ {IMAGE} {WEIGHT} {body} }}",
        w=integers(channels, *weight[1:]),
        **scales,
    )
    before = ops(model)
    assert not AlignChannels()(model)
    assert ops(model) == before
