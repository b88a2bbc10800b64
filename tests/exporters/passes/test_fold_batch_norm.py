from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.exporters.passes import FoldBatchNorm

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 6, 6)).astype(np.float32)


def norm(channels: int) -> dict[str, Array]:
    return {
        "s": RNG.uniform(-2, 2, channels).astype(np.float32),
        "o": RNG.standard_normal(channels).astype(np.float32),
        "m": RNG.standard_normal(channels).astype(np.float32),
        "v": RNG.uniform(0.01, 3, channels).astype(np.float32),
    }


def weight(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def assert_same(before: list[Array], after: list[Array]) -> None:
    for one, other in zip(before, after, strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()


@pytest.mark.parametrize(
    ("layer", "constants"),
    [
        ("Conv(x, w, b)", {"w": weight(8, 4, 3, 3), "b": weight(8)}),
        ("Conv(x, w)", {"w": weight(8, 4, 3, 3)}),
        ("Conv<group=2, strides=[2,2], pads=[1,1,1,1]>(x, w, b)", {"w": weight(8, 2, 3, 3), "b": weight(8)}),
        ("Conv<group=4>(x, w)", {"w": weight(8, 1, 3, 3)}),
    ],
    ids=["bias", "no bias", "groups", "depthwise"],
)
def test_folds_into_a_convolution(
    parse: Any, run: Any, ops: Callable[[Any], list[str]], layer: str, constants: dict[str, Array]
) -> None:
    model = parse(
        "g (float[N,4,6,6] x) => (float[N,8,h,w] y) {"
        f"c = {layer} n = BatchNormalization<epsilon=0.01>(c, s, o, m, v) y = Relu(n) }}",
        **constants,
        **norm(8),
    )
    before = run(model, x=X)
    assert FoldBatchNorm()(model)
    assert ops(model) == ["Conv", "Relu"]
    assert_same(before, run(model, x=X))
    assert not FoldBatchNorm()(model)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("Gemm<transB=1, alpha=0.5>(x, w, b)", (8, 5)),
        ("Gemm(x, w, b)", (5, 8)),
        ("Gemm<beta=1.0>(x, w)", (5, 8)),
    ],
)
def test_folds_into_a_linear_layer(parse: Any, run: Any, ops: Any, layer: str, shape: tuple[int, int]) -> None:
    constants = {"w": weight(*shape), **({"b": weight(8)} if "b)" in layer else {})}
    model = parse(
        f"g (float[N,5] x) => (float[N,8] y) {{ c = {layer} y = BatchNormalization(c, s, o, m, v) }}",
        **constants,
        **norm(8),
    )
    before = run(model, x=X[0, 0, :5, :5])
    assert FoldBatchNorm()(model)
    assert ops(model) == ["Gemm"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert_same(before, run(model, x=X[0, 0, :5, :5]))


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y) { c = Conv(x, w) n = BatchNormalization(c, s, o, m, v) y = Add(n, c) }",
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y, float[a,b,e,f] c) { c = Conv(x, w) y = BatchNormalization(c, s, o, m, v) }",
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y) { c = Conv(x, w) r = Relu(c) y = BatchNormalization(r, s, o, m, v) }",
        "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { y = BatchNormalization(x, s, o, m, v) }",
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y) { k = Neg(w) c = Conv(x, k) y = BatchNormalization(c, s, o, m, v) }",
    ],
    ids=["read twice", "handed out", "after ReLU", "on the input", "computed weight"],
)
def test_leaves_alone_what_it_would_change(parse: Any, run: Any, ops: Any, text: str) -> None:
    model = parse(text, w=weight(4, 4, 3, 3), **norm(4))
    before, nodes = run(model, x=X), ops(model)
    assert not FoldBatchNorm()(model)
    assert ops(model) == nodes
    for one, other in zip(before, run(model, x=X), strict=True):
        assert np.array_equal(one, other)


def test_training_mode_stays(parse: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y) "
        "{ c = Conv(x, w) y, mean, var = BatchNormalization<training_mode=1>(c, s, o, m, v) }",
        w=weight(4, 4, 3, 3),
        **norm(4),
    )
    assert not FoldBatchNorm()(model)
    assert ops(model) == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize(
    ("layer", "bias"),
    [
        ("Gemm<beta=2.0>(x, w, b)", weight(8)),
        ("Gemm<beta=2.0>(x, w)", weight(8)),  # the bias that folding adds would be doubled
        ("Gemm(x, w, b)", weight(8, 1)),  # one value per row
    ],
    ids=["scaled bias", "scaled and absent bias", "bias per row"],
)
def test_a_bias_that_does_not_fit_stays(parse: Any, ops: Any, layer: str, bias: Array) -> None:
    model = parse(
        f"g (float[8,5] x) => (float[8,8] y) {{ c = {layer} y = BatchNormalization(c, s, o, m, v) }}",
        w=weight(5, 8),
        b=bias,
        **norm(8),
    )
    assert not FoldBatchNorm()(model)
    assert ops(model) == ["Gemm", "BatchNormalization"]


def test_a_shared_weight_keeps_its_other_reader(parse: Any, run: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,4,6,6] x) => (float[N,4,4,4] y, float[N,4,4,4] z) "
        "{ c = Conv(x, w) y = BatchNormalization(c, s, o, m, v) z = Conv(x, w) }",
        w=weight(4, 4, 3, 3),
        **norm(4),
    )
    before = run(model, x=X)
    assert FoldBatchNorm()(model)
    assert ops(model) == ["Conv", "Conv"]
    assert_same(before, run(model, x=X))
