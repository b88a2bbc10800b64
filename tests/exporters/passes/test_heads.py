from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecnn.errors import ExportError
from edgecnn.exporters.passes.heads import AddArgmax, AddSoftmax, DropSoftmax

TEXT = "g (float[N,4] x) => (float[N,3] logits) { logits = Gemm(x, w) }"


def test_softmax_gives_probabilities(parse: Any, run: Any, random: Any) -> None:
    model, x = parse(TEXT, w=random(4, 3)), random(5, 4)
    logits = run(model, x=x)[0]
    assert AddSoftmax()(model)
    assert [value.name for value in model.graph.outputs] == ["probabilities"]
    found = run(model, x=x)[0]
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not AddSoftmax()(model)


def test_softmax_comes_and_goes(parse: Any, run: Any, random: Any, ops: Any) -> None:
    model, x = parse(TEXT, w=random(4, 3)), random(5, 4)
    logits = run(model, x=x)[0]
    AddSoftmax()(model)
    assert DropSoftmax()(model)
    assert ops(model) == ["Gemm"]
    assert [value.name for value in model.graph.outputs] == ["probabilities"]
    assert np.array_equal(run(model, x=x)[0], logits)
    assert not DropSoftmax()(model)


def test_argmax_gives_the_class(parse: Any, run: Any, random: Any) -> None:
    model, x = parse(TEXT, w=random(4, 3)), random(5, 4)
    wanted = run(model, x=x)[0].argmax(axis=1)
    assert AddArgmax()(model)
    assert [value.name for value in model.graph.outputs] == ["class"]
    found = run(model, x=x)[0]
    assert found.dtype == np.int64
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Neg(x) }",
        "g (float[N,4,5,5] x) => (float[N,4,5,5] y) { y = Relu(x) }",
    ],
)
def test_a_head_wants_logits(parse: Any, text: str) -> None:
    with pytest.raises(ExportError, match="one output"):
        AddSoftmax()(parse(text))
