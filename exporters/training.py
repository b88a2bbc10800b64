"""A whole training: network and data by name -> weights, recipe and curve in a folder, accuracy through the exported file."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgecnn
from edgecnn.data import Dataset, open_dataset
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.network import ExportOptions, export_network
from edgecnn.specs import Accuracy, Preprocess
from edgecnn.zoo.catalog import preprocess_of
from edgecnn.zoo.network import Form, Network
from edgecnn.zoo.recipes import Epoch, Recipe, read_recipe, write_training_log
from edgecnn.zoo.registry import build, bundled_form, find, make_form
from edgecnn.zoo.train import Progress, train
from edgecnn.zoo.weights import Origin, save_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What is trained, on what, and how.

    Attributes:
        form: network and variant.
        preprocess: how an image becomes the input.
        recipe: how it is trained; `recipe.data` names the labelled images.
    """

    form: Form
    preprocess: Preprocess
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training left behind.

    Attributes:
        weights: the .safetensors file; the log is the .toml beside it.
        accuracy: on the test images, through the exported file.
        curve: one entry per epoch.
    """

    weights: Path
    accuracy: Accuracy
    curve: tuple[Epoch, ...]


def plan_training(
    network: str,
    *,
    data: str | None = None,
    recipe: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
) -> TrainingPlan:
    """Return the plan for a network: the bundled form and recipe where there is one, changed by what is given.

    Args:
        network: name or alias.
        data: name or folder of the labelled set; None takes the recipe's.
        recipe: fields of the recipe to change; None values change nothing.
        options: of the network, those for training only among them, and "input_size" in pixels; None values change
            nothing, and what is not given is as the bundled form, or else the paper's, has it.

    Raises:
        UnknownName: no such network, option or data set.
        Contradiction: an option that this network has not, or channels or classes, which the images decide.
        BadInput: a value that is not allowed.
    """
    entry = find(network)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if decided := sorted({"channels", "classes"} & given.keys()):
        raise Contradiction(f"{' and '.join(decided)} were given", "leave them out: the images decide them")
    asked_in_training = {name: _from_text(given.pop(name)) for name in entry.training_options if name in given}
    chosen = _recipe(entry).changed(data=data, **(recipe or {}))
    in_training = entry.training_values({**chosen.training_options, **asked_in_training})
    chosen = replace(chosen, training_options=in_training)
    dataset = open_dataset(chosen.data)
    base = bundled_form(entry)
    usual = {"input_size": base.input_size, **base.options} if base else {}
    asked: dict[str, Any] = {**usual, **given, "classes": len(dataset.labels), "channels": _channels(dataset)}
    form = make_form(entry, **asked)
    preprocess = preprocess_of(dataset.name, form.input_size) or entry.preprocess_for(form)
    return TrainingPlan(form=form, preprocess=preprocess, recipe=chosen)


def run_training(
    plan: TrainingPlan,
    folder: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train, write weights, exported file and log into a folder, with the accuracy measured through that file.

    Args:
        plan: what to train.
        folder: receives <name>.safetensors, <name>.onnx, <name>.toml and, while training, checkpoint.pt.
        resume: take up the folder's checkpoint.
        on_progress: called after every step.

    Raises:
        BadInput: no training images on this machine, a training option with a value that is not allowed, or a checkpoint
            that does not belong to this plan.
    """
    dataset = open_dataset(plan.recipe.data)
    split = dataset.split("train")
    dataset.split("test")  # one that is missing shows before the work, not after it
    torch.manual_seed(plan.recipe.seed)
    in_training = find(plan.form.network).training_values(plan.recipe.training_options)
    model = build(plan.form, training=in_training)
    curve = train(
        model,
        plan.recipe,
        split,
        plan.preprocess,
        checkpoint=folder / "checkpoint.pt",
        subject={"form": plan.form, "data set": {"name": dataset.name, "labels": dataset.labels}},
        resume=resume,
        on_progress=on_progress,
    )
    weights = folder / f"{plan.form.title}.safetensors"
    origin = Origin(form=plan.form, dataset=dataset.name, labels=dataset.labels, preprocess=plan.preprocess)
    save_weights(_for_inference(model, plan.form), weights, origin=origin)
    exported = folder / f"{plan.form.title}.onnx"
    (accuracy,) = export_network(
        plan.form, exported, ExportOptions(weights=str(weights)), evaluation=dataset
    ).spec.accuracy
    _write_log(weights.with_suffix(".toml"), plan, curve, accuracy, images=len(split))
    return Trained(weights=weights, accuracy=accuracy, curve=tuple(curve))


def _write_log(path: Path, plan: TrainingPlan, curve: list[Epoch], accuracy: Accuracy, *, images: int) -> None:
    write_training_log(
        path,
        network=_described(plan),
        recipe=plan.recipe,
        curve=curve,
        environment={"images": images, "torch": torch.__version__, "threads": torch.get_num_threads()}
        | {"machine": platform.machine(), "edgecnn": edgecnn.__version__},
        result={
            "dataset": accuracy.dataset,
            "split": accuracy.split,
            "images": accuracy.images,
            "top1": accuracy.value,
            "measured": "through the exported fp32 file on backend cpu",
        },
    )


def _for_inference(model: nn.Module, form: Form) -> nn.Module:
    """Return the network without what it has for training only, auxiliary heads for example."""
    plain = build(form)
    trained = model.state_dict()
    plain.load_state_dict({key: trained[key] for key in plain.state_dict()})
    return plain


def _recipe(entry: Network) -> Recipe:
    return read_recipe(entry.bundled.path.with_suffix(".toml")) if entry.bundled else Recipe()


def _from_text(value: object) -> object:
    """Return an option for training only as JSON reads its text, which is what a command line has; others as they are."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _channels(dataset: Dataset) -> int:
    """Return what the images have: 1 for grayscale sets, 3 for all others."""
    images = dataset.split("test").images
    if not len(images):
        raise BadInput(f"data {dataset.name}", expected="at least one test image", got="none")
    return int(images[0].shape[2])


def _described(plan: TrainingPlan) -> dict[str, object]:
    form = plan.form
    return {
        "name": form.network,
        "input_size": form.input_size,
        "in_channels": form.channels,
        "classes": form.classes,
        **form.options,
    }
