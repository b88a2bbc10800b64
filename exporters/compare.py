"""How far two forms of one model are apart on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgecnn.data.dataset import Dataset, Split
from edgecnn.errors import BadInput
from edgecnn.exporters.accuracy import DEFAULT_BATCH, images_within, input_batches
from edgecnn.exporters.decibels import decibels
from edgecnn.runtimes.base import Array
from edgecnn.specs import Preprocess, TensorSpec

Answers = Mapping[str, Array]
"""Outputs by name, each [N, ...]."""

RANDOM_INPUTS = 32
"""Inputs of a comparison without images; the least disagreement of a float graph shows in the first of them."""

_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One form of a model, ready to run.

    Attributes:
        name: how it is called in messages.
        source: the input.
        targets: the outputs; the first is [N, classes].
        preprocess: how an image becomes the input, None when unknown.
        run: input -> outputs by name.
    """

    name: str
    source: TensorSpec
    targets: tuple[TensorSpec, ...]
    preprocess: Preprocess | None
    run: Callable[[Array], Answers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What two forms of a model answered to the same inputs; of several outputs, the one that differs most.

    Attributes:
        inputs: how many were compared.
        output: which output differs most; the others differ by less than `max`, each relative to its own greatest value.
        mean: mean absolute difference over the greatest magnitude of the reference; None where an output is not finite.
        max: greatest absolute difference, likewise.
        sqnr_db: least signal over noise of an output, dB: the variance of the reference's answers from input to input over
            the mean square of the difference. None where an output is not finite, where nothing differs, or where the
            reference answers the same to all inputs.
        agreement: share of the inputs with the same first class in the first output, 0..1.
        spread: standard deviation of the reference's answers from input to input, over their greatest magnitude, in the output
            of `sqnr_db`; None where that is.
    """

    inputs: int
    output: str
    mean: float | None
    max: float | None
    sqnr_db: float | None
    agreement: float
    spread: float | None = None


def compare_on_images(
    model: Side, reference: Side, split: Split, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Difference:
    """Return how far two forms are apart on images; each prepares them in its own way.

    Raises:
        BadInput: outputs of different lengths, different fixed batches, or a form that does not say how to prepare an image.
    """
    return measure_difference(answers_on_images(model, reference, split, on_progress=on_progress))


def compare_on_random(model: Side, reference: Side, *, seed: int = 0, count: int = RANDOM_INPUTS) -> Difference:
    """Return how far two forms are apart on random inputs.

    These are pictures of random pixels where both forms say how an image becomes their input, so that they lie in the range
    that an int8 form was made for, of several sizes where one of the forms scales them itself; otherwise standard normal
    values, or any byte where the forms take bytes.

    Raises:
        BadInput: inputs or outputs of different shape or type, or different fixed batches.
    """
    return measure_difference(answers_on_random(model, reference, seed=seed, count=count))


def images_to_compare(evaluation: Dataset) -> Split:
    """Return the test images of a set; all of them where it has no labels, for these are then of no part."""
    return evaluation.split("test") if evaluation.labels else evaluation.unlabelled()


def answers_on_images(
    model: Side,
    reference: Side,
    split: Split,
    *,
    most: int = DEFAULT_BATCH,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[tuple[Answers, Answers]]:
    """Yield the outputs of two forms for the same images, at most so many at a time; see `compare_on_images`."""
    size = _batch_size(model, reference, most)
    scaled = _any_scales(model, reference)
    feeds = [_feeds(side, split, size, of_one_size=scaled) for side in (model, reference)]
    done = 0
    for (mine, labels), (theirs, _) in zip(*feeds, strict=True):
        count = len(labels)
        yield _first(model.run(mine), count), _first(reference.run(theirs), count)
        done += len(labels)
        on_progress(done, len(split))


def answers_on_random(
    model: Side, reference: Side, *, seed: int = 0, count: int = RANDOM_INPUTS, most: int = DEFAULT_BATCH
) -> Iterator[tuple[Answers, Answers]]:
    """Yield the outputs of two forms for the same random inputs, at most so many at a time; see `compare_on_random`."""
    generator = np.random.default_rng(seed)
    if model.preprocess is not None and reference.preprocess is not None:
        pictures = _random_pictures(generator, count, model.preprocess, scaled=_any_scales(model, reference))
        yield from answers_on_images(model, reference, pictures, most=most)
        return
    size = _batch_size(model, reference, most)
    kinds = [(side.source.shape[1:], side.source.dtype) for side in (model, reference)]
    if kinds[0] != kinds[1]:
        raise BadInput(
            f"input of {model.name}",
            "random inputs serve both only where they read the same; give --data",
            expected=f"{_shape_text(reference.source)}, as {reference.name}",
            got=_shape_text(model.source),
        )
    for start in range(0, count, size):
        feed, kept = _random(generator, size, model.source), min(size, count - start)
        yield _first(model.run(feed), kept), _first(reference.run(feed), kept)


def measure_difference(answers: Iterable[tuple[Answers, Answers]]) -> Difference:
    """Return how far answers are from reference answers, given in pairs batch by batch; the first output has the classes.

    Raises:
        BadInput: there are none.
    """
    inputs = agreeing = 0
    outputs: dict[str, _Output] = {}
    for given, expected in answers:
        first = next(iter(expected))
        inputs += len(expected[first])
        agreeing += int(np.count_nonzero(given[first].argmax(axis=1) == expected[first].argmax(axis=1)))
        for name, reference in expected.items():
            outputs.setdefault(name, _Output()).add(given[name], reference)
    if not inputs:
        raise BadInput("inputs to compare on", expected="at least one", got="none")
    agreement = agreeing / inputs
    for name, output in outputs.items():
        if not output.is_finite:
            return Difference(inputs=inputs, output=name, mean=None, max=None, sqnr_db=None, agreement=agreement)
    worst = max(outputs, key=lambda name: outputs[name].max)
    known = [(output.sqnr_db, output.spread) for output in outputs.values() if output.sqnr_db is not None]
    sqnr_db, spread = min(known, default=(None, None))
    return Difference(
        inputs=inputs,
        output=worst,
        mean=outputs[worst].mean,
        max=outputs[worst].max,
        sqnr_db=sqnr_db,
        agreement=agreement,
        spread=spread,
    )


class _Output:
    """The differences in one output, summed up batch by batch."""

    def __init__(self) -> None:
        self._inputs = self._values = 0
        self._total = self._worst = self._largest = self._noise = self._power = 0.0
        self._sum: Array | float = 0.0

    def add(self, given: Array, expected: Array) -> None:
        """Take in a batch of answers, both [N, ...]."""
        reference = expected.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity minus infinity, which `is_finite` tells
            error = np.abs(given.astype(np.float64) - reference)
        self._inputs, self._values = self._inputs + len(given), self._values + error.size
        # numpy's maximum, unlike Python's, keeps a value that is not a number.
        self._total, self._worst = self._total + float(error.sum()), float(np.maximum(self._worst, error.max()))
        self._largest = float(np.maximum(self._largest, np.abs(reference).max()))
        self._noise, self._power = self._noise + float((error**2).sum()), self._power + float((reference**2).sum())
        self._sum = self._sum + reference.sum(axis=0)

    @property
    def is_finite(self) -> bool:
        """Whether all answers of both are numbers."""
        return bool(np.isfinite(self._total) and np.isfinite(self._largest))

    @property
    def mean(self) -> float:
        """Mean absolute difference over the greatest magnitude of the reference."""
        return self._total / self._values / self._scale

    @property
    def max(self) -> float:
        """Greatest absolute difference, likewise."""
        return self._worst / self._scale

    @property
    def sqnr_db(self) -> float | None:
        """Signal over noise, dB; what all answers have in common is no signal. None without noise or signal."""
        return decibels(self._signal, self._noise)

    @property
    def spread(self) -> float:
        """Standard deviation of the reference from input to input, over its greatest magnitude."""
        return float(np.sqrt(self._signal / self._values)) / self._scale

    @property
    def _signal(self) -> float:
        signal = self._power - float((np.asarray(self._sum) ** 2).sum()) / self._inputs
        # What is left of the power by rounding alone is no signal.
        return signal if signal > 1e-12 * self._power else 0.0

    @property
    def _scale(self) -> float:
        return max(self._largest, float(np.finfo(np.float32).tiny))


def _first(answers: Answers, count: int) -> Answers:
    return {name: array[:count] for name, array in answers.items()}


def _check_outputs(model: Side, reference: Side) -> None:
    found, expected = ({one.name: one for one in side.targets} for side in (model, reference))
    if found.keys() != expected.keys():
        raise BadInput(
            f"outputs of {model.name}",
            "compare two forms of one model",
            expected=f"{', '.join(sorted(expected))}, as {reference.name}",
            got=", ".join(sorted(found)),
        )
    for name, target in expected.items():
        if found[name].shape[1:] != target.shape[1:]:
            raise BadInput(
                f"output {name} of {model.name}",
                "compare two forms of one model",
                expected=f"{_shape_text(target)}, as {reference.name}",
                got=_shape_text(found[name]),
            )


def _batch_size(model: Side, reference: Side, most: int) -> int:
    _check_outputs(model, reference)
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
    return min(most, *known) if known else 1


def _feeds(side: Side, split: Split, size: int, *, of_one_size: bool) -> Iterator[tuple[Array, Array]]:
    if side.preprocess is None:
        raise BadInput(
            f"{side.name} does not say how an image becomes its input", "compare on random inputs: leave --data away"
        )
    source = replace(side.source, shape=(size, *side.source.shape[1:]))
    return input_batches(source, side.preprocess, split, size, of_one_size=of_one_size)


def _random(generator: np.random.Generator, size: int, source: TensorSpec) -> Array:
    shape = (size, *(int(extent) for extent in source.shape[1:]))
    if source.dtype == "uint8":
        return generator.integers(0, 256, shape).astype(np.uint8)
    return generator.standard_normal(shape, np.float32)


def _any_scales(model: Side, reference: Side) -> bool:
    return any(side.preprocess is not None and side.preprocess.resize_in_graph for side in (model, reference))


def _random_pictures(generator: np.random.Generator, count: int, preprocess: Preprocess, *, scaled: bool) -> Split:
    """Return pictures whose pixels lie between a random darkest and brightest value of each.

    They have the model's size, or also others where a file is to scale them: one of exactly that size is never scaled.
    """
    height, width = preprocess.size
    sizes = [
        (height, width),
        (2 * height, 2 * width),
        (height + height // 3, 2 * width),
        (3 * height, width + width // 2),
    ]
    pictures = []
    for index in range(count):
        low, high = np.sort(generator.integers(0, 256, 2))
        size = sizes[index * len(sizes) // count] if scaled else preprocess.size
        noise = generator.random((*size, preprocess.channels), np.float32)
        pictures.append((low + noise * (high - low)).astype(np.uint8))
    return Split("random", pictures, np.zeros(count, np.int64), trained=False)


def _shape_text(spec: TensorSpec) -> str:
    return f"{spec.dtype} [{', '.join(map(str, spec.shape))}]"
