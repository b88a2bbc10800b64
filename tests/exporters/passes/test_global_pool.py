from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes import GlobalPool

X = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("axes", [(2, 3), (-1, -2), (3, 2)])
def test_spatial_mean_becomes_a_pool(parse: Any, run: Any, ops: Any, axes: tuple[int, int]) -> None:
    model = parse(
        "g (float[N,3,5,4] x) => (float[N,3,1,1] y) { r = Relu(x) y = ReduceMean(r, axes) }",
        axes=np.array(axes, np.int64),
    )
    before = run(model, x=X)
    assert GlobalPool()(model)
    assert ops(model) == ["Relu", "GlobalAveragePool"]
    np.testing.assert_allclose(run(model, x=X)[0], before[0], rtol=1e-5, atol=1e-6)
    assert not GlobalPool()(model)


def test_axes_as_an_attribute(parse: Any, ops: Any) -> None:
    model = parse("g (float[N,3,5,4] x) => (float[N,3,1,1] y) { y = ReduceMean<axes=[2,3]>(x) }", opset=13)
    assert GlobalPool()(model)
    assert ops(model) == ["GlobalAveragePool"]


@pytest.mark.parametrize("opset", [13, 18])
def test_a_mean_that_drops_the_dimensions_gets_a_flatten(parse: Any, run: Any, ops: Any, opset: int) -> None:
    mean = "ReduceMean<axes=[2,3], keepdims=0>(r)" if opset < 18 else "ReduceMean<keepdims=0>(r, axes)"
    axes = {"axes": np.array((2, 3), np.int64)} if opset >= 18 else {}
    head = f"r = Relu(x) m = {mean} y = Gemm(m, w)"
    weight = np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)
    model = parse(f"g (float[N,3,5,4] x) => (float[N,2] y) {{ {head} }}", opset=opset, w=weight, **axes)
    before = run(model, x=X)
    assert GlobalPool()(model)
    assert ops(model) == ["Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert [list(node.outputs[0].shape)[1:] for node in model.graph][1:3] == [[3, 1, 1], [3]]
    np.testing.assert_allclose(run(model, x=X)[0], before[0], rtol=1e-5, atol=1e-6)
    assert not GlobalPool()(model)


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        ("g (float[N,3,5,4] x) => (float[N,4] y) { y = ReduceMean<keepdims=0>(x, axes) }", (1, 2)),
        ("g (float[N,3,5,4] x) => (float[N,1,1,4] y) { y = ReduceMean(x, axes) }", (1, 2)),
        ("g (float[N,3,5,4] x) => (float[N,3,5,1] y) { y = ReduceMean(x, axes) }", (3,)),
        ("g (float[N,3,5,4,2] x) => (float[N,3,1,1,2] y) { y = ReduceMean(x, axes) }", (2, 3)),
        ("g (float[N,3,5,4] x) => (float[N,3,1,1] y) { y = ReduceMax(x, axes) }", (2, 3)),
    ],
    ids=["dimensions dropped, other axes", "other axes", "one axis", "five dimensions", "maximum"],
)
def test_other_means_stay(parse: Any, ops: Any, text: str, axes: tuple[int, ...]) -> None:
    model = parse(text, axes=np.array(axes, np.int64))
    before = ops(model)
    assert not GlobalPool()(model)
    assert ops(model) == before
