from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes import run_passes
from edgecnn.exporters.passes.bytes_between import ClipInInt8, ShiftInInt8, quantize_level
from edgecnn.exporters.passes.catalog import BYTE_PASSES
from edgecnn.exporters.passes.drop_unused import DropUnused

SCALE, ZERO = np.float32(0.05), np.uint8(20)
EVERY = ((np.arange(256) - 20) * 0.05).astype(np.float32).reshape(1, 256)
"""A value for every byte."""


def quantized(parse: Any, body: str, **constants: Any) -> Any:
    return parse(
        f"g (float[N,256] x) => (float[N,256] y) {{ xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z) {body} }}",
        s=SCALE,
        z=ZERO,
        **constants,
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.0, 2.449), (-0.5, 100.0), (-9.0, 0.03)])
def test_a_clip_of_bytes_gives_the_same_bytes(parse: Any, run: Any, ops: Any, low: float, high: float) -> None:
    model = quantized(
        parse,
        "c = Clip(xd, low, high) cq = QuantizeLinear(c, s, z) y = DequantizeLinear(cq, s, z)",
        low=np.float32(low),
        high=np.float32(high),
    )
    before = run(model, x=EVERY)[0]
    assert ClipInInt8()(model)
    DropUnused()(model)
    assert ops(model) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert np.array_equal(before, run(model, x=EVERY)[0])
    assert not ClipInInt8()(model)


def test_a_clip_between_two_scales_stays(parse: Any) -> None:
    body = "c = Clip(xd, low, high) cq = QuantizeLinear(c, other, z) y = DequantizeLinear(cq, other, z)"
    model = quantized(parse, body, low=np.float32(0), high=np.float32(6), other=np.float32(0.04))
    assert not ClipInInt8()(model)


@pytest.mark.parametrize("amount", [-0.3, 0.77, -3.01])
def test_a_shift_is_another_zero_point(parse: Any, run: Any, ops: Any, amount: float) -> None:
    body = "a = Add(xd, k) aq = QuantizeLinear(a, t, u) y = DequantizeLinear(aq, t, u)"
    constants = {"k": np.float32(amount), "t": np.float32(0.06), "u": np.uint8(90)}
    model = quantized(parse, body, **constants)
    assert ShiftInInt8()(model)
    DropUnused()(model)
    assert ops(model) == ["QuantizeLinear", "DequantizeLinear"]
    scale = float(model.graph.initializers["s_whole"].const_value.numpy())
    assert SCALE <= scale < SCALE * 1.2
    assert np.abs(amount / scale - round(amount / scale)) < 1e-5
    inside = EVERY[:, 20:200]
    padded = np.zeros((1, 256), np.float32)
    padded[:, : inside.size] = inside
    found = run(model, x=padded)[0][:, : inside.size]
    assert np.abs(found - (inside + np.float32(amount))).max() <= scale / 2 + 1e-5


@pytest.mark.parametrize(
    ("body", "amount"),
    [
        ("a = Add(xd, k) aq = QuantizeLinear(a, s, z) y = DequantizeLinear(aq, s, z)", 20.0),
        ("a = Add(xd, k) aq = QuantizeLinear(a, s, z) y = DequantizeLinear(aq, s, z)", 0.01),
        ("a = Add(xd, k) b = Tanh(xd) aq = QuantizeLinear(a, s, z) d = DequantizeLinear(aq, s, z) y = Mul(d, b)", -0.3),
        ("a = Add(xd, k) y = Relu(a)", -0.3),
    ],
    ids=["beyond a byte", "below one step", "scale that others rely on", "not quantized"],
)
def test_other_shifts_stay(parse: Any, ops: Any, body: str, amount: float) -> None:
    model = quantized(parse, body, k=np.float32(amount))
    before = ops(model)
    assert not ShiftInInt8()(model)
    assert ops(model) == before


def test_what_hard_swish_becomes_needs_no_float(parse: Any, run: Any, ops: Any) -> None:
    """The graph that `SplitHardSwish` leaves, quantized: one product of bytes, as exact as three roundings allow."""
    root = np.float32(np.sqrt(6))
    model = parse(
        """g (float[N,256] x) => (float[N,256] y) {
            tq = QuantizeLinear(x, s, z) t = DequantizeLinear(tq, s, z)
            c = Clip(t, low, root) cq = QuantizeLinear(c, s, z) u = DequantizeLinear(cq, s, z)
            a = Add(t, k) aq = QuantizeLinear(a, s2, z2) v = DequantizeLinear(aq, s2, z2)
            p = Mul(v, u) pq = QuantizeLinear(p, s3, z3) y = DequantizeLinear(pq, s3, z3)
        }""",
        s=np.float32(5 / 255),
        z=np.uint8(0),
        low=np.float32(0),
        root=root,
        k=np.float32(-3 / root),
        s2=np.float32(0.02),
        z2=np.uint8(62),
        s3=np.float32(10 / 255),
        z3=np.uint8(10),
    )
    run_passes(model, (*BYTE_PASSES, DropUnused()))
    assert sorted(ops(model)) == sorted(
        ["QuantizeLinear", "Clip", "DequantizeLinear", "DequantizeLinear", "Mul", "QuantizeLinear", "DequantizeLinear"]
    )
    x = np.linspace(-5, 8, 256, dtype=np.float32)
    wanted = x * np.clip(x + 3, 0, 6) / 6
    found = run(model, x=((x + 3) / root).clip(0)[None])[0][0]
    assert np.abs(found - wanted).max() < 0.09


def test_a_level_saturates() -> None:
    assert quantize_level(1e9, 0.05, np.asarray(3, np.uint8)) == 255
    assert quantize_level(-1e9, 0.05, np.asarray(-3, np.int8)) == -128
    assert quantize_level(0.1, 0.05, np.asarray(3, np.uint8)) == 5
