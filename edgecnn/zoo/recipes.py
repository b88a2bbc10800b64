"""Training recipes: the small TOML file beside each set of bundled weights says how to train them again.

Such a file has the tables [network] (what was built), [recipe] (how it is trained), and, once trained, [training] (the
curve) and [result] (accuracy measured through the exported file).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from edgecnn.errors import BadInput
from edgecnn.files import replacing
from edgecnn.jsonform import from_json
from edgecnn.specs import Scalar
from edgecnn.toml import read_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; with the same seed, machine and thread count the result is the same.

    Attributes:
        data: name or folder of the labelled set; its training part is used.
        epochs: passes over the training images.
        batch: images per step.
        optimizer: "sgd" (Nesterov momentum 0.9) or "adamw".
        learning_rate: the peak, reached after the warm-up; cosine decay to zero from there.
        weight_decay: on weights only, not on biases and batch norm.
        warmup_epochs: epochs of linear rise to the peak.
        label_smoothing: 0..1, share of the target spread over all classes.
        flip: mirror half of the images left to right.
        crop_padding: pixels of black border that random crops may reach into.
        autocast: "bf16" runs convolutions in bfloat16 where that is safe, "none" everything in float32.
        channels_last: memory layout of activations while training.
        seed: of weights, order and augmentation.
        training_options: keywords of the network's builder that act in training only, drop_path = 0.15 for example.
    """

    data: str = "fashion-mnist"
    epochs: int = 20
    batch: int = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    flip: bool = True
    crop_padding: int = 2
    autocast: Literal["bf16", "none"] = "none"
    channels_last: bool = True
    seed: int = 0
    training_options: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lows = {"epochs": 1, "batch": 2, "weight_decay": 0, "warmup_epochs": 0, "crop_padding": 0, "seed": 0}
        for name, low in lows.items():
            if not low <= getattr(self, name) < math.inf:
                raise BadInput(name, expected=f"at least {low}", got=str(getattr(self, name)))
        if self.seed >= 1 << 32:
            raise BadInput("seed", expected="less than 2^32", got=str(self.seed))
        if not 0 < self.learning_rate < math.inf:
            raise BadInput("learning_rate", expected="above 0", got=str(self.learning_rate))
        if not 0 <= self.label_smoothing < 1:
            raise BadInput("label_smoothing", expected="0 or more and below 1", got=str(self.label_smoothing))
        if self.optimizer not in ("sgd", "adamw"):
            raise BadInput("optimizer", expected="sgd or adamw", got=repr(self.optimizer))
        if self.autocast not in ("bf16", "none"):
            raise BadInput("autocast", expected="bf16 or none", got=repr(self.autocast))

    def changed(self, **options: object) -> Recipe:
        """Return the recipe with those options that are not None."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One line of the training curve.

    Attributes:
        epoch: 1-based.
        loss: mean training loss, with label smoothing.
        top1: share of augmented training images that were right while training, 0..1.
        learning_rate: at the end of the epoch.
    """

    epoch: int
    loss: float
    top1: float
    learning_rate: float


def read_recipe(path: Path) -> Recipe:
    """Return the [recipe] table of a weights TOML.

    Raises:
        BadInput: the file is missing, not TOML, or has a key or a value that no recipe has.
    """
    return from_json(Recipe, read_toml(path).get("recipe", {}), where=f"{path}: recipe")


def write_training_log(
    path: Path,
    *,
    network: Mapping[str, Any],
    recipe: Recipe,
    curve: list[Epoch],
    environment: Mapping[str, Any],
    result: Mapping[str, Any],
) -> None:
    """Write the TOML beside the weights: what was built, the recipe, the curve, the final figures.

    Raises:
        UnavailableError: the disk is full, or the folder cannot be written to.
    """
    document = {
        "network": dict(network),
        "recipe": asdict(recipe),
        "result": dict(result),
        "training": {
            **environment,
            "curve": [asdict(epoch) for epoch in curve],
        },
    }
    with replacing(path) as temporary:
        temporary.write_text(tomli_w.dumps(document), encoding="utf-8")
