"""Scores -> the most probable classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.answers import predictions
from edgecnn.errors import BadInput, InferenceError


def test_softmax_by_hand() -> None:
    best = predictions(np.array([0.0, math.log(3), -np.inf], np.float32), ["a", "b", "c"], 3)
    assert [(one.label, one.index) for one in best] == [("b", 1), ("a", 0), ("c", 2)]
    assert [one.probability for one in best] == pytest.approx([0.75, 0.25, 0.0])


def test_without_names_the_index_is_the_label() -> None:
    assert [one.label for one in predictions(np.array([1.0, 2.0]), (), 9)] == ["1", "0"]


@pytest.mark.parametrize("top", [1, 5, 8, 9, 1000])
def test_equal_scores_keep_their_order(top: int) -> None:
    scores = np.zeros(1000, np.float32)
    scores[[400, 7]] = 1
    wanted = [7, 400, *[i for i in range(1000) if i not in (7, 400)]]
    assert [one.index for one in predictions(scores, (), top)] == wanted[:top]


@given(
    scores=st.lists(st.floats(-100, 100, width=32) | st.just(-math.inf), min_size=1, max_size=60),
    top=st.integers(1, 70),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_any_scores(scores: list[float], top: int, dtype: type) -> None:
    values = np.array(scores, dtype)
    if np.isneginf(values).all():
        with pytest.raises(InferenceError):
            predictions(values, (), top)
        return
    before = values.copy()
    best = predictions(values, (), top)
    assert np.array_equal(values, before)
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    assert [one.index for one in best] == order[:top]
    shares = [math.exp(float(value) - float(values.max())) for value in values]
    assert [one.probability for one in best] == pytest.approx([shares[i] / math.fsum(shares) for i in order[:top]])


@pytest.mark.parametrize("classes", [10, 1000, 20_000])
@pytest.mark.parametrize("greatest", [-21.0, -19.0, 0.0, 59.0, 61.0, 90.0])
def test_probabilities_are_as_exact_as_the_scores(classes: int, greatest: float) -> None:
    scores = np.random.default_rng(classes).normal(0, 5, classes).astype(np.float32)
    scores += np.float32(greatest) - scores.max()
    wide = np.exp(scores.astype(np.float64) - float(scores.max()))
    best = predictions(scores, (), 5)
    assert [one.probability for one in best] == pytest.approx([wide[one.index] / wide.sum() for one in best], rel=2e-6)


def test_great_scores_do_not_overflow() -> None:
    best = predictions(np.array([3e38, -3e38, 3e38], np.float32), (), 3)
    assert [one.probability for one in best] == [0.5, 0.5, 0.0]


def test_integer_scores() -> None:
    best = predictions(np.array([250, 255, 0], np.uint8), (), 2)
    assert [one.index for one in best] == [1, 0]
    assert best[0].probability == pytest.approx(1 / (1 + math.exp(-5) + math.exp(-255)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 3, 9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_that_are_no_numbers_name_the_output(bad: float, place: int, dtype: type) -> None:
    scores = np.arange(10).astype(dtype)
    scores[place] = bad
    with pytest.raises(InferenceError, match=r"^output logits has (nan|inf) in it"):
        predictions(scores, (), 5, output="logits")


@pytest.mark.parametrize("scores", [np.zeros(0, np.float32), np.zeros(3, bool), np.array(["a"])])
def test_what_is_no_scores_is_named(scores: np.ndarray) -> None:
    with pytest.raises(InferenceError, match=r"^output y: expected scores, got"):
        predictions(scores, (), 1, output="y")


def test_labels_must_fit() -> None:
    for labels in (("a", "b"), ("a", "b", "c", "d")):
        with pytest.raises(BadInput, match=f"labels: expected 3 names, got {len(labels)}"):
            predictions(np.zeros(3, np.float32), labels, 1)
    with pytest.raises(BadInput, match="labels: expected 3 names, got 2"):
        predictions(np.zeros(3), ("a", "b"), 1)
    with pytest.raises(BadInput, match="top: expected at least 1, got 0"):
        predictions(np.zeros(3), (), 0)
