"""An activation that vanished into a quantizer still clips, whatever scale that quantizer shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def weight(*shape: int) -> Array:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


CONSTANTS = {
    "wa": weight(16, 3, 1, 1),
    "wb": weight(16, 3, 1, 1),
    "wc": weight(16, 3, 1, 1),
    "zero": np.float32(0),
    "half": np.float32(0.5),
    "from": np.array([0], np.int64),
    "last": np.array([3], np.int64),
    "to": np.array([8], np.int64),
    "grow": np.array([0, 0, 0, 0, 0, 16, 0, 0], np.int64),
}
LAYERS = "a = Conv(x, wa) b = Conv(x, wb) c = Conv(x, wc) "

# The names of the scales that the inputs of the (last) concatenation end up with follow each body.
CLIPPED = {
    "relu": "r = Relu(a) z = Concat<axis=1>(r, b)",
    "clip": "r = Clip(a, zero, half) z = Concat<axis=1>(r, b)",
    "two bounds": "r = Clip(a, zero, half) s = Relu(b) z = Concat<axis=1>(r, s)",
    "relu and pool": "r = Relu(a) m = MaxPool<kernel_shape=[1,1]>(r) z = Concat<axis=1>(m, b)",
    "clip, transpose and slice": "r = Clip(a, zero, half) t = Transpose<perm=[0,1,3,2]>(r) m = Slice(t, from, to, last) "
    "z = Concat<axis=1>(m, b)",
    "clip and pad": "r = Clip(a, zero, half) m = Pad(r, grow) z = Concat<axis=1>(m, b)",
    "concat in concat": "r = Relu(a) s = Relu(b) i = Concat<axis=1>(r, s) z = Concat<axis=1>(i, c)",
    "concat, pool, concat": "r = Relu(a) s = Relu(b) i = Concat<axis=1>(r, s) m = MaxPool<kernel_shape=[1,1]>(i) "
    "z = Concat<axis=1>(m, c)",
    "relu on concat in concat": "i0 = Concat<axis=1>(a, b) i = Relu(i0) z = Concat<axis=1>(i, c)",
    "sum": "s0 = Add(a, b) s = Relu(s0) z = Concat<axis=1>(s, c)",
    "clip, then relu on concat": "r = Clip(a, zero, half) z0 = Concat<axis=1>(r, b) z = Relu(z0)",
    "sum of concats": "r = Relu(a) z1 = Concat<axis=1>(r, b) q = Clip(c, zero, half) z2 = Concat<axis=1>(b, q) "
    "z = Add(z1, z2)",
    "relu on pool": "m = MaxPool<kernel_shape=[1,1]>(a) r = Relu(m) z = Concat<axis=1>(r, b)",
}
"""Graphs where the concatenation holds values that an activation before it must not let through."""


@pytest.mark.parametrize("body", CLIPPED.values(), ids=CLIPPED.keys())
def test_an_activation_before_a_concatenation_is_not_lost(parse: Any, run: Any, quantize_graph: Any, body: str) -> None:
    model = parse(
        f"g (float[N,3,8,8] x) => (float[N,c,h,w] y) {{ {LAYERS} {body} y = MaxPool<kernel_shape=[1,1]>(z) }}",
        **CONSTANTS,
    )
    pictures = np.random.default_rng(1).integers(0, 256, (32, 8, 8, 3)).astype(np.uint8)
    floats = ((pictures.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25).astype(np.float32)
    int8, placement = quantize_graph(model, pictures)
    assert placement.absorbed  # else nothing is tested
    reference, result = run(model, x=floats)[0], run(int8, x=floats)[0]
    noise = np.sum((reference.astype(np.float64) - result) ** 2)
    assert 10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / noise) > 35
