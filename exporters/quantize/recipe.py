"""One way of quantizing a model, and what came of trying it."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.exporters.quantize.config import Method
from edgecnn.specs import Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way of quantizing a model.

    Attributes:
        method: how ranges are chosen.
        equalized: whether weights were equalized across layers.
        corrected: whether biases make up for the mean error of quantized weights.
        keep_float: names of nodes that stay float.
    """

    method: Method
    equalized: bool = False
    corrected: bool = False
    keep_float: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """In words, "mse, equalized, 3 nodes float" for example."""
        parts: list[str] = [self.method]
        parts += ["equalized"] if self.equalized else []
        parts += ["bias corrected"] if self.corrected else []
        count = len(self.keep_float)
        parts += [f"{count} node{'s' * (count > 1)} float"] if count else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A recipe that was tried.

    Attributes:
        step: what it was tried for: "fp32", "plain", "repair", "method", "mixed" or "give back".
        recipe: None for the fp32 file itself.
        subset: accuracy on a part of the evaluation set, None where it was not measured.
        whole: accuracy on all of it, None where it was not measured.
        latency_ns: of one inference.
        ratio: latency over that of the fp32 file, measured in turns with it.
        int8_share: share of the multiply-adds in int8, 0..1.
        holds: whether the bound holds on the whole set.
    """

    step: str
    recipe: Recipe | None
    subset: Accuracy | None = None
    whole: Accuracy | None = None
    latency_ns: float | None = None
    ratio: float | None = None
    int8_share: float | None = None
    holds: bool = False

    @property
    def accuracy(self) -> Accuracy | None:
        """The accuracy on the most images."""
        return self.whole or self.subset

    @property
    def title(self) -> str:
        """The recipe in words."""
        return self.recipe.title if self.recipe else "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What quantizing one node alone does to the model's answer.

    Attributes:
        node: its name.
        op_type: its operator.
        sqnr_db: signal of the fp32 answer over the noise, decibels; None where the answers are equal.
        agreement: share of the images with the same first class as fp32, 0..1.
        accuracy: share of the labelled images that are right, 0..1; None without labels.
        images: how many images of the calibration set were looked at.
        macs_share: of the node, 0..1.
    """

    node: str
    op_type: str
    sqnr_db: float | None
    agreement: float
    accuracy: float | None
    images: int
    macs_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """What a search for an accuracy bound tried.

    Attributes:
        max_drop: the bound, percentage points of top-1.
        backend: what measured accuracy and latency.
        trials: in order, the fp32 file first.
        chosen: index of the trial whose file was written, None where none held the bound.
        fp32_subset: accuracy of the fp32 file on the part of the images that ranks, None where none was needed.
        sensitivity: the most sensitive node first; empty where it was not needed.
    """

    max_drop: float
    backend: str
    trials: tuple[Trial, ...]
    chosen: int | None = None
    fp32_subset: Accuracy | None = None
    sensitivity: tuple[Sensitivity, ...] = ()

    @property
    def best(self) -> Trial:
        """The quantized trial with the highest accuracy on the whole set, or else on a part of it."""
        return max(self.trials[1:], key=lambda trial: (trial.whole is not None, _value(trial)))

    def drop(self, trial: Trial) -> float | None:
        """Return the percentage points that a trial lost on the images it was measured on, None where it was not."""
        references = {one.images: one for one in (self.fp32_subset, self.trials[0].whole) if one is not None}
        if trial.accuracy is None or trial.accuracy.images not in references:
            return None
        return round(100 * (references[trial.accuracy.images].value - trial.accuracy.value), 6)

    @property
    def summary(self) -> str:
        """One line per trial, for a file's lineage."""
        return "; ".join(_line(trial, index == self.chosen) for index, trial in enumerate(self.trials))


def _value(trial: Trial) -> float:
    return trial.accuracy.value if trial.accuracy else 0.0


def _line(trial: Trial, chosen: bool) -> str:
    figures = []
    if trial.accuracy:
        figures.append(f"{trial.accuracy.value:.2%} of {trial.accuracy.images}")
    if trial.latency_ns is not None:
        figures.append(f"{trial.latency_ns / 1e6:.4g} ms")
    return f"{trial.title}: {', '.join(figures)}{' (chosen)' * chosen}"
