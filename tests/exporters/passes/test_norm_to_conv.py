from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes.fold_norm_forward import FoldNormForward
from edgecnn.exporters.passes.norm_to_conv import NormToConv


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 1)])
def test_behind_a_sum_it_becomes_a_depthwise_convolution(
    parse: Any, ops: Any, exact: Any, random: Any, norm: Any, size: tuple[int, int]
) -> None:
    height, width = size
    model = parse(
        f"g (float[N,4,{height},{width}] x) => (float[N,4,h,w] y) {{ a = Conv(x, w1) b = Conv(x, w2) c = Add(a, b) "
        "n = BatchNormalization<epsilon=0.01>(c, s, o, m, v) y = Relu(n) }",
        w1=random(4, 4, 1, 1),
        w2=random(4, 4, 1, 1),
        **norm(4),
    )
    assert exact(model, NormToConv(), random(1, 4, *size), random(3, 4, *size))
    assert ops(model) == ["Conv", "Conv", "Add", "Conv", "Relu"]
    assert model.graph[3].attributes["group"].value == 4


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { y = BatchNormalization(x, s, o, m, v) }",
        "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { c = Conv(x, w) t = Tanh(c) y = BatchNormalization(t, s, o, m, v) }",
        "g (float[N,4] x) => (float[N,4] y) { c = Gemm(x, k) y = BatchNormalization(c, s, o, m, v) }",
        "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { c = Conv(x, w) k2 = Neg(s) y = BatchNormalization(c, k2, o, m, v) }",
    ],
    ids=["on the image", "behind a float function", "two dimensions", "computed scale"],
)
def test_stays_where_no_int8_is_around_it(parse: Any, ops: Any, random: Any, norm: Any, text: str) -> None:
    model = parse(text, w=random(4, 4, 1, 1), k=random(4, 4), **norm(4))
    before = ops(model)
    assert not NormToConv()(model)
    assert ops(model) == before


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("Conv(n, w, b)", (8, 4, 3, 3)),
        ("Conv(n, w)", (8, 4, 1, 1)),
        ("Conv<group=2, strides=[2,2]>(n, w, b)", (8, 2, 3, 3)),
        ("Conv<group=4>(n, w, b)", (8, 1, 2, 3)),
    ],
    ids=["bias", "no bias", "groups", "depthwise"],
)
def test_folds_into_the_convolution_behind(
    parse: Any, ops: Any, exact: Any, random: Any, norm: Any, layer: str, shape: tuple[int, ...]
) -> None:
    model = parse(
        "g (float[N,4,7,9] x) => (float[N,8,h,w] y) { r = Relu(x) "
        f"n = BatchNormalization(r, s, o, m, v) c = {layer} y = Relu(c) }}",
        w=random(*shape),
        b=random(8),
        **norm(4),
    )
    assert exact(model, FoldNormForward(), random(1, 4, 7, 9), random(2, 4, 7, 9))
    assert ops(model) == ["Relu", "Conv", "Relu"]


def test_folds_into_all_that_read_it(parse: Any, ops: Any, exact: Any, random: Any, norm: Any) -> None:
    model = parse(
        "g (float[N,4,5,5] x) => (float[N,4,5,5] y, float[N,2,5,5] z) "
        "{ n = BatchNormalization(x, s, o, m, v) y = Conv(n, w) z = Conv(n, k) }",
        w=random(4, 4, 1, 1),
        k=random(2, 4, 1, 1),
        **norm(4),
    )
    assert exact(model, FoldNormForward(), random(2, 4, 5, 5))
    assert ops(model) == ["Conv", "Conv"]


@pytest.mark.parametrize(
    "body",
    [
        "n = BatchNormalization(x, s, o, m, v) y = Conv<pads=[1,1,1,1]>(n, w)",
        'n = BatchNormalization(x, s, o, m, v) y = Conv<auto_pad="SAME_UPPER">(n, w)',
        "n = BatchNormalization(x, s, o, m, v) r = Relu(n) y = Conv(r, w)",
        "n = BatchNormalization(x, s, o, m, v) c = Conv(n, w) y = Sum(n, c, c)",
    ],
    ids=["padded", "padded by itself", "activation between", "read by others"],
)
def test_forward_folding_leaves_alone_what_it_would_change(
    parse: Any, ops: Any, random: Any, norm: Any, body: str
) -> None:
    model = parse(f"g (float[N,4,6,6] x) => (float[N,4,h,w] y) {{ {body} }}", w=random(4, 4, 1, 1), **norm(4))
    before = ops(model)
    assert not FoldNormForward()(model)
    assert ops(model) == before


def test_padding_is_no_obstacle_where_nothing_is_added(
    parse: Any, ops: Any, exact: Any, random: Any, norm: Any
) -> None:
    constants = norm(4) | {"o": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
    model = parse(
        "g (float[N,4,6,6] x) => (float[N,4,h,w] y) "
        "{ n = BatchNormalization(x, s, o, m, v) y = Conv<pads=[1,1,1,1]>(n, w) }",
        w=random(4, 4, 3, 3),
        **constants,
    )
    assert exact(model, FoldNormForward(), random(2, 4, 6, 6))
    assert ops(model) == ["Conv"]
