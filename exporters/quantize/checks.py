"""What must hold before a model is quantized, and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.data.dataset import Split
from edgecnn.errors import AccuracyError, BadInput, Contradiction, QuantizeError
from edgecnn.exporters.accuracy import require_preprocess
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.specs import Accuracy, Artifact, ModelSpec

MIN_OPSET = 13
"""DequantizeLinear takes one scale per channel from this operator set on."""


def load_fp32(path: Path) -> Artifact:
    """Return the artifact behind a path, fit to be quantized.

    Raises:
        BadInput: not a model file, no preprocessing in it, several inputs, or an operator set before 13.
        QuantizeError: the file is not fp32.
    """
    artifact = load_artifact(path)
    if artifact.precision == "int8":
        raise QuantizeError(f"{path} is quantized already", "give the fp32 file that it was made from")
    if artifact.precision != "fp32":
        raise QuantizeError(f"{path} is {artifact.precision}", "export it as fp32 and quantize that")
    require_preprocess(artifact)
    if len(artifact.spec.inputs) != 1:
        names = ", ".join(spec.name for spec in artifact.spec.inputs)
        raise BadInput(f"inputs of {path}", expected="one image", got=names or "none")
    if artifact.opset is None or artifact.opset < MIN_OPSET:
        raise BadInput(
            f"operator set of {path}",
            "export it again, --opset 18 for example",
            expected=f"{MIN_OPSET} or newer",
            got=str(artifact.opset),
        )
    return artifact


def check_splits(calibration: Split, evaluation: Split | None) -> None:
    """Raise Contradiction if activations would be observed on images that accuracy is measured on."""
    if not calibration.trained:
        raise Contradiction(
            f"calibration on {calibration.name!r} images, which accuracy is measured on",
            "give images of the training part, --calibration NAME|FOLDER",
        )
    if evaluation is None:
        return
    hint = "give images of the training part, --calibration NAME|FOLDER"
    if _same_images(calibration, evaluation):
        raise Contradiction(f"calibration and evaluation are on the same {evaluation.name!r} images", hint)
    shared = {path.resolve() for path in calibration.files} & {path.resolve() for path in evaluation.files}
    if shared:
        raise Contradiction(
            f"{len(shared)} image{'s' * (len(shared) > 1)} would serve calibration and evaluation both, {min(shared)} "
            "for example",
            hint,
        )


def _same_images(one: Split, other: Split) -> bool:
    if isinstance(one.images, np.ndarray) and isinstance(other.images, np.ndarray):
        return np.shares_memory(one.images, other.images)
    return one.images is other.images


def why_not_measured(spec: ModelSpec, evaluation: Split | None, labels: tuple[str, ...]) -> str:
    """Return why accuracy on these images means nothing for this model, or nothing where it can be measured.

    Args:
        spec: of the model.
        evaluation: the labelled images.
        labels: their class names in index order, empty when unknown.
    """
    if evaluation is None:
        return "there is no evaluation set"
    if spec.weights == "random":
        return "the weights are random"
    if labels and spec.labels and labels != spec.labels:
        return "the model was trained on other classes"
    classes = spec.outputs[0].shape[-1] if spec.outputs else None
    if labels and classes != len(labels):
        return f"the model has {classes} outputs and the evaluation set {len(labels)} classes"
    return ""


def check_bound(config: QuantizeConfig, reason: str) -> None:
    """Raise Contradiction if accuracy is to be held and cannot be measured, for that reason."""
    if reason and config.max_drop is not None:
        raise Contradiction(
            f"accuracy cannot be held within {config.max_drop:g} points: {reason}",
            "give --data with labelled images, or leave --max-drop away",
        )


def hold_bound(fp32: Accuracy, int8: Accuracy, max_drop: float | None) -> None:
    """Raise AccuracyError if accuracy fell by more than so many percentage points."""
    drop = 100 * (fp32.value - int8.value)
    # Both are counts over the same images; a hundredth of the weight of one image is rounding.
    if max_drop is None or drop <= max_drop + 1 / fp32.images:
        return
    raise AccuracyError(
        f"top-1 on {fp32.images} images fell by {drop:.2f} points, from {fp32.value:.2%} (fp32) to {int8.value:.2%} "
        f"(int8), allowed {max_drop:g}",
        "accept more with --max-drop, or calibrate on images nearer to the real ones with --calibration",
    )
