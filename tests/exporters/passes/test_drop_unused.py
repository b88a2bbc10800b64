from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.exporters.passes import DropUnused

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
ONE = np.ones(3, np.float32)
RATIO = np.float32(0.5)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("i = Identity(x) y = Relu(i)", ["Relu"]),
        ("r = Relu(x) y = Identity(r)", ["Relu"]),
        ("r = Relu(x) i = Identity(r) y = Add(i, r)", ["Relu", "Add"]),
        ("d = Dropout(x) y = Relu(d)", ["Relu"]),
        ("d, mask = Dropout(x, half, no) y = Relu(d)", ["Relu"]),
        ("dead = Exp(x) deader = Neg(dead) y = Relu(x)", ["Relu"]),
        ("r = Relu(x) i = Identity(r) d = Dropout(i) y = Identity(d)", ["Relu"]),
    ],
)
def test_removes(parse: Any, run: Any, ops: Any, body: str, left: list[str]) -> None:
    model = parse(
        f"g (float[N,3] x) => (float[N,3] y) {{ {body} }}", half=RATIO, no=np.array(False), spare=ONE, other=ONE
    )
    before = run(model, x=X)
    assert DropUnused()(model)
    assert ops(model) == left
    assert not model.graph.initializers
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert np.array_equal(before[0], run(model, x=X)[0])
    assert not DropUnused()(model)


@pytest.mark.parametrize(
    ("signature", "body", "left"),
    [
        ("(float[N,3] y)", "y = Identity(x)", ["Identity"]),
        ("(float[3] y)", "y = Identity(one)", ["Identity"]),
        ("(float[N,3] y, float[N,3] z)", "y = Relu(x) z = Identity(y)", ["Relu", "Identity"]),
        ("(float[N,3] y)", "d = Dropout(x, half, yes) y = Relu(d)", ["Dropout", "Relu"]),
        ("(float[N,3] y, bool[N,3] mask)", "d, mask = Dropout(x) y = Relu(d)", ["Dropout", "Relu"]),
    ],
    ids=["input handed out", "constant handed out", "output twice", "training", "mask read"],
)
def test_keeps(parse: Any, ops: Any, signature: str, body: str, left: list[str]) -> None:
    model = parse(f"g (float[N,3] x) => {signature} {{ {body} }}", half=RATIO, yes=np.array(True), one=ONE)
    DropUnused()(model)
    assert ops(model) == left


def test_dropout_that_the_caller_may_switch_on_stays(parse: Any, ops: Any) -> None:
    model = parse(
        "g (float[N,3] x, bool training) => (float[N,3] y) { d = Dropout(x, half, training) y = Relu(d) }", half=RATIO
    )
    assert not DropUnused()(model)
    assert ops(model) == ["Dropout", "Relu"]
