"""Measured accuracy of a file beside what is stated about it: inside the file, in the zoo, in the literature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from edgecnn.data import Dataset
from edgecnn.errors import BadInput, UnknownName
from edgecnn.exporters.accuracy import measure_accuracy, require_preprocess
from edgecnn.specs import Accuracy, Artifact
from edgecnn.zoo.network import Network
from edgecnn.zoo.registry import find

Verdict = Literal["ok", "fail", "reported", "not applicable"]
"""Within the tolerance, beyond it, nothing to hold it against, or without a meaning."""

DEFAULT_POINTS = 0.1
"""Ten of 10,000 images: engines and processors round differently, which moves a few images across a border."""

# Russakovsky et al. 2015: published top-1 is of all validation images.
_IMAGENET_VALIDATION = 50_000

# Points are differences of counts over the images; what is below this is their rounding in floating point.
_ROUNDING_POINTS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A top-1 that somebody states about a file.

    Attributes:
        source: "file" (stamped inside), "registry" (of the zoo's bundled weights) or "published".
        value: 0..1.
        images: how many images it was measured on.
        difference_points: measured minus stated, percentage points.
        comparable: whether both are about the same images.
    """

    source: str
    value: float
    images: int
    difference_points: float
    comparable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyCheck:
    """Measured accuracy beside the stated ones.

    Attributes:
        verdict: "reported" where nothing comparable is stated.
        reason: why it does not apply, or why nothing is compared; empty otherwise.
        measured: None where it does not apply.
        figures: what is stated.
        allowed_points: how far the measured one may be off.
    """

    verdict: Verdict
    reason: str = ""
    measured: Accuracy | None = None
    figures: tuple[Figure, ...] = ()
    allowed_points: float

    @property
    def difference_points(self) -> float | None:
        """The greatest difference from a comparable figure, percentage points; None without one."""
        found = [one.difference_points for one in self.figures if one.comparable]
        return max(found, key=abs) if found else None


def check_accuracy(
    artifact: Artifact,
    evaluation: Dataset,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    allowed_points: float = DEFAULT_POINTS,
    published: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> AccuracyCheck:
    """Return the top-1 of a file on the test part of a set, and how far it is from what is stated.

    Args:
        artifact: the file.
        evaluation: the labelled images.
        backend: what runs the file.
        threads: of the backend; None leaves it to the backend.
        allowed_points: greatest difference, percentage points.
        published: also hold the publisher's own weights against the top-1 of the literature.
        on_progress: called with images done and images in all.

    Raises:
        BadInput: the file cannot be run on these images.
    """
    reason = why_not_applicable(artifact, evaluation)
    if reason:
        return not_applicable(reason, allowed_points)
    check_fit(artifact, evaluation)
    measured = measure_accuracy(
        artifact,
        evaluation.split("test"),
        dataset=evaluation.name,
        backend=backend,
        threads=threads,
        on_progress=on_progress,
    )
    figures = (*_stamped(artifact, measured), *_registered(artifact, measured, published=published))
    return _judged(measured, figures, allowed_points)


def _judged(measured: Accuracy, figures: tuple[Figure, ...], allowed_points: float) -> AccuracyCheck:
    comparable = [abs(one.difference_points) for one in figures if one.comparable]
    within = all(points <= allowed_points + _ROUNDING_POINTS for points in comparable)
    return AccuracyCheck(
        verdict="reported" if not comparable else "ok" if within else "fail",
        reason="" if comparable else _why_not_compared(figures),
        measured=measured,
        figures=figures,
        allowed_points=allowed_points,
    )


def check_fit(artifact: Artifact, evaluation: Dataset) -> None:
    """Raise BadInput if a file that accuracy means something for cannot be run on a data set; quick, nothing runs."""
    if why_not_applicable(artifact, evaluation):
        return
    require_preprocess(artifact)
    classes, count = _classes(artifact), len(evaluation.labels)
    if classes != count:
        raise BadInput(
            f"classes of {artifact.path}",
            "give --data with the images that the model was trained for",
            expected=f"{count}, as {evaluation.name} has",
            got=str(classes),
        )


def not_applicable(reason: str, allowed_points: float = DEFAULT_POINTS) -> AccuracyCheck:
    """Return the check of a file that accuracy says nothing about."""
    return AccuracyCheck(verdict="not applicable", reason=reason, allowed_points=allowed_points)


def why_not_applicable(artifact: Artifact, evaluation: Dataset) -> str:
    """Return why accuracy on these images means nothing for a file; empty where it means something.

    A file of another set is measured where its classes are the same, or, where it does not name them, as many.
    """
    spec = artifact.spec
    if spec.weights == "random":
        return "random weights"
    if not evaluation.labels:
        return f"the images of {evaluation.name} have no labels, folders CLASS/NAME"
    if spec.dataset == evaluation.name:
        return ""
    if spec.dataset is None:
        others = spec.labels and evaluation.labels and spec.labels != evaluation.labels
        return f"its classes are not those of {evaluation.name}, or in another order" if others else ""
    fits = spec.labels == evaluation.labels if spec.labels else _classes(artifact) == len(evaluation.labels)
    return "" if fits else f"trained on {spec.dataset}, not on {evaluation.name}"


def _classes(artifact: Artifact) -> int | str | None:
    outputs = artifact.spec.outputs
    return outputs[0].shape[-1] if outputs and outputs[0].shape else None


def _stamped(artifact: Artifact, measured: Accuracy) -> Iterator[Figure]:
    """Yield what the file itself says of this set in its precision."""
    kind = (measured.metric, measured.dataset, measured.split, measured.precision)
    for one in artifact.spec.accuracy:
        if (one.metric, one.dataset, one.split, one.precision) == kind:
            yield _figure("file", one.value, one.images, measured)


def _registered(artifact: Artifact, measured: Accuracy, *, published: bool) -> Iterator[Figure]:
    """Yield what the zoo says of a file with bundled weights, and of one with the publisher's where that is asked for."""
    if artifact.precision != "fp32":
        return
    spec = artifact.spec
    try:
        network = find(spec.network)
    except UnknownName:
        return
    bundled = network.bundled
    if (
        bundled
        and (spec.weights, spec.title) == ("bundled", bundled.form.title)
        and bundled.dataset == measured.dataset
    ):
        yield _figure("registry", bundled.top1, bundled.images, measured)
    top1 = _published_top1(network, spec.title)
    if published and spec.weights.startswith("imagenet") and top1 is not None:
        yield _figure("published", top1, _IMAGENET_VALIDATION, measured)


def _published_top1(network: Network, title: str) -> float | None:
    """Return what the publisher of a form's file states about that file."""
    rows = (row for row in network.published if row.form.title == title)
    return next((row.file_top1 for row in rows if row.file_top1 is not None), None)


def _figure(source: str, value: float, images: int, measured: Accuracy) -> Figure:
    points = round(100 * (measured.value - value), 6)
    comparable = images == measured.images
    return Figure(source=source, value=value, images=images, difference_points=points, comparable=comparable)


def _why_not_compared(figures: tuple[Figure, ...]) -> str:
    if not figures:
        return "no accuracy on these images is stated"
    return "stated on " + " and ".join(f"{one.images:,} images ({one.source})" for one in figures)
