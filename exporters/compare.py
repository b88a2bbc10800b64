"""How far two forms of one model are apart on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput
from edgecnn.exporters.accuracy import DEFAULT_BATCH, images_within, input_batches
from edgecnn.runtimes.base import Array
from edgecnn.specs import Preprocess, TensorSpec

RANDOM_INPUTS = 32
"""Inputs of a comparison without images; the least disagreement of a float graph shows in the first of them."""

_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One form of a model, ready to run.

    Attributes:
        name: how it is called in messages.
        source: the input.
        target: the output, [N, classes].
        preprocess: how an image becomes the input, None when unknown.
        run: input -> output.
    """

    name: str
    source: TensorSpec
    target: TensorSpec
    preprocess: Preprocess | None
    run: Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What two forms of a model answered to the same inputs.

    Attributes:
        inputs: how many were compared.
        mean: mean absolute difference over the greatest magnitude of the reference; None where an output is not finite.
        max: greatest absolute difference, likewise.
        agreement: share of the inputs with the same first class, 0..1.
    """

    inputs: int
    mean: float | None
    max: float | None
    agreement: float


def compare_on_images(
    model: Side, reference: Side, split: Split, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Difference:
    """Return how far two forms are apart on images; each prepares them in its own way.

    Raises:
        BadInput: outputs of different lengths, different fixed batches, or a form that does not say how to prepare an image.
    """
    size = _batch_size(model, reference)
    feeds = [_feeds(side, split, size) for side in (model, reference)]

    def answers() -> Iterator[tuple[Array, Array]]:
        done = 0
        for (mine, labels), (theirs, _) in zip(*feeds, strict=True):
            yield model.run(mine)[: len(labels)], reference.run(theirs)[: len(labels)]
            done += len(labels)
            on_progress(done, len(split))

    return measure_difference(answers())


def compare_on_random(model: Side, reference: Side, *, seed: int = 0, count: int = RANDOM_INPUTS) -> Difference:
    """Return how far two forms are apart on random inputs.

    These are pictures of random pixels where both forms say how an image becomes their input, so that they lie in the range
    that an int8 form was made for; otherwise standard normal values, or any byte where the forms take bytes.

    Raises:
        BadInput: inputs or outputs of different shape or type, or different fixed batches.
    """
    generator = np.random.default_rng(seed)
    if model.preprocess is not None and reference.preprocess is not None:
        return compare_on_images(model, reference, _random_pictures(generator, count, model.preprocess))
    size = min(count, _batch_size(model, reference))
    kinds = [(side.source.shape[1:], side.source.dtype) for side in (model, reference)]
    if kinds[0] != kinds[1]:
        raise BadInput(
            f"input of {model.name}",
            "random inputs serve both only where they read the same; give --data",
            expected=f"{_shape_text(reference.source)}, as {reference.name}",
            got=_shape_text(model.source),
        )
    feeds = (_random(generator, size, model.source) for _ in range(-(-count // size)))
    return measure_difference((model.run(feed), reference.run(feed)) for feed in feeds)


def measure_difference(answers: Iterable[tuple[Array, Array]]) -> Difference:
    """Return how far answers [N, classes] are from reference answers, given in pairs batch by batch.

    Raises:
        BadInput: there are none.
    """
    inputs = agreeing = values = 0
    total = worst = largest = 0.0
    for given, expected in answers:
        error = np.abs(given.astype(np.float64) - expected)
        inputs, values = inputs + len(given), values + error.size
        agreeing += int(np.count_nonzero(given.argmax(axis=1) == expected.argmax(axis=1)))
        # numpy's maximum, unlike Python's, keeps a value that is not a number.
        total, worst = total + float(error.sum()), float(np.maximum(worst, error.max()))
        largest = float(np.maximum(largest, np.abs(expected).max()))
    if not inputs:
        raise BadInput("inputs to compare on", expected="at least one", got="none")
    if not (np.isfinite(total) and np.isfinite(largest)):
        return Difference(inputs=inputs, mean=None, max=None, agreement=agreeing / inputs)
    scale = max(largest, float(np.finfo(np.float32).tiny))
    return Difference(inputs=inputs, mean=total / values / scale, max=worst / scale, agreement=agreeing / inputs)


def _batch_size(model: Side, reference: Side) -> int:
    if model.target.shape[1:] != reference.target.shape[1:]:
        raise BadInput(
            f"outputs of {model.name}",
            "compare two forms of one model",
            expected=f"{_shape_text(reference.target)}, as {reference.name}",
            got=_shape_text(model.target),
        )
    fixed = {side.source.shape[0] for side in (model, reference) if isinstance(side.source.shape[0], int)}
    if len(fixed) > 1:
        raise BadInput(
            f"batch of {model.name}",
            "export one of them for any batch",
            expected=f"{reference.source.shape[0]}, as {reference.name}",
            got=str(model.source.shape[0]),
        )
    if fixed:
        return int(fixed.pop())
    known = [images_within(_BATCH_BYTES, side.preprocess) for side in (model, reference) if side.preprocess]
    return min(DEFAULT_BATCH, *known) if known else 1


def _feeds(side: Side, split: Split, size: int) -> Iterator[tuple[Array, Array]]:
    if side.preprocess is None:
        raise BadInput(
            f"{side.name} does not say how an image becomes its input", "compare on random inputs: leave --data away"
        )
    return input_batches(replace(side.source, shape=(size, *side.source.shape[1:])), side.preprocess, split, size)


def _random(generator: np.random.Generator, size: int, source: TensorSpec) -> Array:
    shape = (size, *(int(extent) for extent in source.shape[1:]))
    if source.dtype == "uint8":
        return generator.integers(0, 256, shape).astype(np.uint8)
    return generator.standard_normal(shape, np.float32)


def _random_pictures(generator: np.random.Generator, count: int, preprocess: Preprocess) -> Split:
    """Return pictures of the model's size, their pixels between a random darkest and brightest value of each."""
    shape = (count, *preprocess.size, preprocess.channels)
    ends = np.sort(generator.integers(0, 256, (2, count, 1, 1, 1)), axis=0)
    pixels = ends[0] + generator.random(shape, np.float32) * (ends[1] - ends[0])
    return Split("random", pixels.astype(np.uint8), np.zeros(count, np.int64), trained=False)


def _shape_text(spec: TensorSpec) -> str:
    return f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
