from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.exporters.quantize.equalize import EqualizeWeights

Array = NDArray[Any]
Parse = Callable[..., Any]
Run = Callable[..., list[Array]]
RNG = np.random.default_rng(5)

BODIES = {
    "relu": "c = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, w2, b2)",
    "nothing between": "c = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(c, w2, b2)",
    "pools": "c = Conv<pads=[1,1,1,1]>(x, w1, b1) r = LeakyRelu<alpha=0.1>(c) p = MaxPool<kernel_shape=[2,2]>(r) "
    "a = AveragePool<kernel_shape=[2,2]>(p) y = Conv(a, w2)",
    "depthwise": "c = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(c) d = Conv<group=8, pads=[1,1,1,1]>(r, wd, b1) s = Relu(d) "
    "y = Conv(s, w2, b2)",
    "groups": "c = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(c) y = Conv<group=2>(r, wg)",
}


def weights(spread: float = 50.0) -> dict[str, Array]:
    made = {
        "w1": RNG.standard_normal((8, 3, 3, 3)),
        "b1": RNG.standard_normal(8),
        "wd": RNG.standard_normal((8, 1, 3, 3)),
        "wg": RNG.standard_normal((6, 4, 3, 3)),
        "w2": RNG.standard_normal((6, 8, 3, 3)),
        "b2": RNG.standard_normal(6),
    }
    made["w1"] *= np.geomspace(1 / spread, spread, 8)[:, None, None, None]
    return {name: array.astype(np.float32) for name, array in made.items()}


def model(parse: Parse, body: str, **constants: Array) -> Any:
    used = {
        name: array for name, array in constants.items() if name in body.replace(",", " ").replace(")", " ").split()
    }
    return parse(f"g (float[N,3,9,9] x) => (float[N,6,h,w] y) {{ {body} }}", **used)


def weight_of(graph: Any, index: int) -> Array:
    layers = [node for node in graph if node.op_type == "Conv"]
    array: Array = layers[index].inputs[1].const_value.numpy()
    return array


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_model_computes_the_same(parse: Parse, run: Run, body: str) -> None:
    made = model(parse, body, **weights())
    x = RNG.standard_normal((4, 3, 9, 9)).astype(np.float32)
    (before,) = run(made, x=x)
    assert EqualizeWeights()(made)
    (after,) = run(made, x=x)
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


@pytest.mark.parametrize("name", ["relu", "pools", "depthwise"])
def test_both_sides_become_equally_wide(parse: Parse, name: str) -> None:
    made = model(parse, BODIES[name], **weights())
    layers = sum(node.op_type == "Conv" for node in made.graph)
    EqualizeWeights()(made)
    for index in range(layers - 1):
        first = np.abs(weight_of(made.graph, index)).max(axis=(1, 2, 3))
        second = weight_of(made.graph, index + 1)
        inputs = np.abs(second).max(axis=(1, 2, 3) if second.shape[1] == 1 else (0, 2, 3))
        assert first == pytest.approx(inputs, rel=0.02)


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv(x, w1) r = Clip(c, zero, six) y = Conv(r, w2)",
        "c = Conv(x, w1) r = HardSwish(c) y = Conv(r, w2)",
        "c = Conv(x, w1) r = Sigmoid(c) y = Conv(r, w2)",
        "c = Conv(x, w1) r = Relu(c) y0 = Conv(r, w2) y1 = Conv(r, w2) y = Add(y0, y1)",
        "c = Conv(x, w1) s = Add(c, c) y = Conv(s, w2)",
        "c = Conv<pads=[1,1,1,1]>(x, w1) y = Conv(x, w3)",
    ],
)
def test_where_it_would_change_the_answer_it_does_nothing(parse: Parse, body: str) -> None:
    constants = {**weights(), "zero": np.float32(0), "six": np.float32(6), "w3": weights()["w2"][:, :3].copy()}
    made = model(parse, body, **{name: np.asarray(array) for name, array in constants.items()})
    before = weight_of(made.graph, 0).copy()
    assert not EqualizeWeights()(made)
    assert np.array_equal(weight_of(made.graph, 0), before)


def test_dead_channels_stay_finite(parse: Parse, run: Run) -> None:
    constants = weights()
    constants["w1"][2] = 0
    constants["w2"][:, 5] = 0
    made = model(parse, BODIES["relu"], **constants)
    x = RNG.standard_normal((2, 3, 9, 9)).astype(np.float32)
    (before,) = run(made, x=x)
    EqualizeWeights()(made)
    assert np.abs(run(made, x=x)[0] - before).max() <= 1e-5 * np.abs(before).max()


def test_a_weight_that_two_layers_share_is_not_changed_under_the_other(parse: Parse, run: Run) -> None:
    body = "c = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(c) d = Conv(r, w2) e = Conv<pads=[1,1,1,1]>(x, w1) f = Sigmoid(e) "
    made = model(parse, body + "g = Conv(f, w2) y = Add(d, g)", **weights())
    x = RNG.standard_normal((2, 3, 9, 9)).astype(np.float32)
    (before,) = run(made, x=x)
    assert EqualizeWeights()(made)
    assert np.abs(run(made, x=x)[0] - before).max() <= 1e-5 * np.abs(before).max()
