from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgecnn.exporters.macs import int8_share, layer_macs


def test_layers_are_counted_for_one_image(parse: Callable[..., Any]) -> None:
    ones = lambda *shape: np.ones(shape, np.float32)  # noqa: E731
    model = parse(
        """g (float[N,4,8,8] x) => (float[N,5] y) {
            a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)
            b = Conv<group=6>(a, d)
            f = Flatten(b)
            g = Gemm<transB=1>(f, v)
            y = MatMul(g, m)
        }""",
        w=ones(6, 4, 3, 3),
        d=ones(6, 1, 3, 3),
        v=ones(7, 24),
        m=ones(7, 5),
    )
    macs = layer_macs(model)
    assert list(macs.values()) == [4 * 4 * 6 * 4 * 9, 2 * 2 * 6 * 9, 24 * 7, 7 * 5]
    conv, *others = macs
    assert int8_share(macs, {conv}) == 3456 / (3456 + 216 + 168 + 35)
    assert int8_share(macs, others) == (216 + 168 + 35) / (3456 + 216 + 168 + 35)
    assert int8_share({}, {conv}) is None


def test_what_is_not_known_beforehand_is_left_out(parse: Callable[..., Any]) -> None:
    model = parse("g (float[N,1,h,w] x) => (float[N,2,i,j] y) { y = Conv(x, k) }", k=np.ones((2, 1, 3, 3), np.float32))
    assert layer_macs(model) == {}
