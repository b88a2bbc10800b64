"""Scores of a classifier -> its answer: the most probable classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError
from edgecnn.numbers import check_whole

if TYPE_CHECKING:
    from dataclasses import dataclass

    from numpy.typing import NDArray
else:
    from edgecnn.values import dataclass

# Up to so many answers, looking for the next best is faster than sorting all.
_FEW = 8

_FLOAT32 = np.dtype(np.float32)

# Between these, the exponentials of float32 scores neither overflow, summed over thousands of classes, nor lose a share that is
# above 1e-28 of the greatest.
_LEAST_SAFE, _MOST_SAFE = -20.0, 60.0

_MOST_ONES = 8
_ONES: dict[int, NDArray[np.float32]] = {}

_exp = np.exp


@dataclass(init=False, frozen=True, slots=True)
class Prediction:
    """One answer of a classifier.

    Attributes:
        label: the class name, or the index as text when the file has no names.
        index: of the class.
        probability: 0..1, softmax over all classes.
    """

    label: str
    index: int
    probability: float

    def __init__(self, label: str, index: int, probability: float) -> None:
        _SET_LABEL(self, label)
        _SET_INDEX(self, index)
        _SET_PROBABILITY(self, probability)


# What writes a frozen field: `object.__setattr__` would look each of them up by name.
_SET_LABEL, _SET_INDEX, _SET_PROBABILITY = (
    vars(Prediction)[name].__set__ for name in ("label", "index", "probability")
)


def predictions(scores: NDArray[Any], labels: Sequence[str], top: int, *, output: str = "output") -> list[Prediction]:
    """Return the most probable classes of one image, best first; of equal ones the lower index comes first.

    Args:
        scores: logits, [classes], integers or floats.
        labels: class names in index order; empty for none.
        top: how many, at least 1; never more than there are classes.
        output: what errors call the scores.

    Raises:
        BadInput: there are labels, and not as many as classes, or `top` is below 1.
        InferenceError: no scores, scores that are no numbers, NaN or infinity among them.
    """
    count = scores.size
    if (
        type(top) is int
        and 0 < top <= _FEW
        and top <= count
        and scores.dtype is _FLOAT32
        and (not labels or len(labels) == count)
    ):
        answer = _of_usual_scores(scores, labels, top)
        if answer:
            return answer
    return _of_any_scores(scores, labels, top, output)


def _of_usual_scores(scores: NDArray[np.float32], labels: Sequence[str], top: int) -> list[Prediction]:
    """Return what `predictions` returns; nothing for scores that need care.

    Few calls of numpy and of Python, none that converts as it goes and none of those that numpy has in Python: after a network
    has run, each finds the processor's caches without its code.

    Args:
        scores: [classes].
        labels: as many, or none.
        top: at most `_FEW`, and at most as many as classes.
    """
    best = scores.argmax()
    # The first NaN counts as the greatest for argmax, and fails this comparison.
    if not _LEAST_SAFE < scores.item(best) < _MOST_SAFE:
        return []
    shares = _exp(scores)
    share, total = shares.item, float(shares.dot(_ones(scores.size)))
    left, answer = scores.copy(), []
    next_best = left.argmax
    for _ in range(top):
        index = int(best)
        answer.append(Prediction(labels[index] if labels else str(index), index, share(index) / total))
        if len(answer) == top:
            break
        left[best] = -inf
        best = next_best()
    # Else, of the rest, none was greater than what stands for those found.
    return answer if top == 1 or left.item(best) != -inf else []


def _of_any_scores(scores: NDArray[Any], labels: Sequence[str], top: int, output: str) -> list[Prediction]:
    """Return what `predictions` returns, and raise what it raises."""
    if type(top) is not int or top < 1:
        check_whole("top", top)
    if scores.dtype.kind not in "fiu" or scores.size == 0:
        raise InferenceError(f"output {output}: expected scores, got {scores.dtype} {list(scores.shape)}")
    if labels and len(labels) != scores.size:
        raise BadInput("labels", expected=f"{scores.size} names", got=str(len(labels)))
    wide = scores.astype(np.float64)
    # A NaN is what max returns where there is one.
    greatest = float(wide.max())
    if not isfinite(greatest):
        raise InferenceError(
            f"output {output} has {greatest} in it", "weights or arithmetic overflow: edgecnn verify finds where"
        )
    shares = _exp(wide - greatest)
    shares /= shares.sum()
    best = np.argsort(-wide, kind="stable")[: min(top, scores.size)]
    return [
        Prediction(labels[index] if labels else str(index), index, float(shares[index]))
        for index in (int(one) for one in best)
    ]


def _ones(count: int) -> NDArray[np.float32]:
    """Return float32 ones: a product with them is a sum, by less code than a sum is."""
    ones = _ONES.get(count)
    if ones is None:
        if len(_ONES) >= _MOST_ONES:
            _ONES.clear()
        ones = _ONES[count] = np.ones(count, np.float32)
    return ones
