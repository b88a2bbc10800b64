"""Scores of a classifier -> its answer: the most probable classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError
from edgecnn.numbers import check_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to so many classes, looking for the next best is faster than sorting all.
_FEW = 8


@dataclass(frozen=True, slots=True)
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
    check_whole("top", top)
    if scores.dtype.kind not in "fiu" or scores.size == 0:
        raise InferenceError(f"output {output}: expected scores, got {scores.dtype} {list(scores.shape)}")
    if labels and len(labels) != scores.size:
        raise BadInput("labels", expected=f"{scores.size} names", got=str(len(labels)))
    # The first NaN counts as the greatest for argmax, so one look finds all that cannot be.
    greatest = float(scores[scores.argmax()])
    if not math.isfinite(greatest):
        raise InferenceError(
            f"output {output} has {greatest} in it", "weights or arithmetic overflow: edgecnn verify finds where"
        )
    # Few calls of numpy: after a network has run, each finds the processor's caches without its code.
    shares = np.subtract(scores, greatest, dtype=np.float64)
    np.exp(shares, out=shares)
    total = float(np.add.reduce(shares))
    return [
        Prediction(labels[index] if labels else str(index), index, float(shares[index]) / total)
        for index in _greatest(scores, min(top, scores.size))
    ]


def _greatest(scores: NDArray[Any], count: int) -> list[int]:
    """Return the indices of the greatest scores, in order."""
    values = scores.astype(np.float64) if scores.dtype.kind in "iu" else scores.copy()
    indices: list[int] = []
    for _ in range(min(count, _FEW + 1)):
        index = int(values.argmax())
        if len(indices) == _FEW or values[index] == -math.inf:
            return [int(index) for index in np.argsort(-scores.astype(np.float64), kind="stable")[:count]]
        indices.append(index)
        values[index] = -math.inf
    return indices
