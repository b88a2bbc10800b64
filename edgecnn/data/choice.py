"""Which images a model is quantized and measured with, from what the user says and what the model file says."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.data import NAMED, Dataset, Split, open_dataset, open_named
from edgecnn.errors import BadInput

DEFAULT_DATA = "fashion-mnist"
"""Calibrates models that name no data set (random weights): any natural images do for their ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenImages:
    """The images for one quantization.

    Attributes:
        evaluation: what accuracy is measured on, None where it cannot be measured.
        calibration: what activations are observed on.
        calibration_name: name of the set that these belong to.
        note: one line for the user where something was chosen for him, or empty.
    """

    evaluation: Dataset | None
    calibration: Split
    calibration_name: str
    note: str = ""


def choose_images(trained_on: str | None, *, data: str | None = None, calibration: str | None = None) -> ChosenImages:
    """Return the images for quantizing a model.

    Args:
        trained_on: the data set that the model file names. Only a set that is known by name is opened by it: a folder
            that happens to have that name may hold anything.
        data: name or folder of the labelled set, as the user gives it; None takes the one the model was trained on.
        calibration: name or folder of images for calibration; None takes the calibration part of the labelled set.

    Raises:
        UnknownName: neither a known name nor a folder.
        BadInput: the model was trained on a set that is not known by name and nothing is given, or a part is missing.
    """
    evaluation = open_dataset(data) if data else open_named(trained_on) if trained_on in NAMED else None
    missing = trained_on if evaluation is None else None
    if calibration is not None:
        chosen = open_dataset(calibration)
        note = f"trained on {missing}: give --data FOLDER to measure accuracy" if missing else ""
        return ChosenImages(
            evaluation=evaluation, calibration=chosen.unlabelled(), calibration_name=chosen.name, note=note
        )
    if missing:
        raise BadInput(f"the model was trained on {missing}, which cannot be opened by name", "give --data FOLDER")
    source = evaluation or open_named(DEFAULT_DATA)
    note = ""
    if evaluation is None:
        note = f"the model names no data set: calibrating on {source.name}, accuracy is not applicable"
    return ChosenImages(
        evaluation=evaluation, calibration=source.split("calibration"), calibration_name=source.name, note=note
    )
