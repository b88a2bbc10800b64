from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecnn.errors import BadInput, UnavailableError
from edgecnn.toml import read_toml
from edgecnn.zoo.recipes import Epoch, Recipe, read_recipe, write_training_log

recipes = st.builds(
    Recipe,
    data=st.text(max_size=20),
    epochs=st.integers(1, 10**6),
    batch=st.integers(2, 10**6),
    optimizer=st.sampled_from(["sgd", "adamw"]),
    learning_rate=st.floats(1e-12, 1e6),
    weight_decay=st.floats(0, 10),
    warmup_epochs=st.floats(0, 100),
    label_smoothing=st.floats(0, 1, exclude_max=True),
    flip=st.booleans(),
    crop_padding=st.integers(0, 100),
    autocast=st.sampled_from(["bf16", "none"]),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
CURVE = [
    Epoch(epoch=1, loss=1.25, top1=0.5, learning_rate=0.1),
    Epoch(epoch=2, loss=0.75, top1=0.875, learning_rate=0.0),
]


def _log(path: Path, recipe: Recipe, **environment: Any) -> None:
    write_training_log(
        path,
        network={"name": "lenet5", "options": {}},
        recipe=recipe,
        curve=CURVE,
        environment={"images": 60_000, **environment},
        result={"top1": 0.9075},
    )


@settings(deadline=None, max_examples=60)
@given(recipe=recipes)
def test_a_recipe_survives_its_log(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "log.toml"
    _log(path, recipe)
    assert read_recipe(path) == recipe


def test_a_log_tells_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lenet5.toml"
    _log(path, Recipe(epochs=2), torch="2.9.0")
    assert read_toml(path) == {
        "network": {"name": "lenet5", "options": {}},
        "recipe": asdict(Recipe(epochs=2)),
        "result": {"top1": 0.9075},
        "training": {"images": 60_000, "torch": "2.9.0", "curve": [asdict(epoch) for epoch in CURVE]},
    }
    assert [other.name for other in path.parent.iterdir()] == ["lenet5.toml"]


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot write"):
        _log(tmp_path / "file" / "lenet5.toml", Recipe())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch": 1}, "batch: expected at least 2, got 1"),
        ({"crop_padding": -1}, "crop_padding: expected at least 0, got -1"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"seed": 1 << 32}, "seed: expected less than 2^32, got 4294967296"),
        ({"weight_decay": -0.1}, "weight_decay: expected at least 0, got -0.1"),
        ({"warmup_epochs": -1.0}, "warmup_epochs: expected at least 0, got -1.0"),
        ({"warmup_epochs": math.nan}, "warmup_epochs: expected at least 0, got nan"),
        ({"learning_rate": 0.0}, "learning_rate: expected above 0, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate: expected above 0, got nan"),
        ({"learning_rate": math.inf}, "learning_rate: expected above 0, got inf"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected 0 or more and below 1, got 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing: expected 0 or more and below 1, got -0.1"),
        ({"optimizer": "adam"}, "optimizer: expected sgd or adamw, got 'adam'"),
        ({"autocast": "fp16"}, "autocast: expected bf16 or none, got 'fp16'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        Recipe(**options)
    assert caught.value.message == message
    with pytest.raises(BadInput):
        Recipe().changed(**options)


def test_changed_takes_what_is_given() -> None:
    recipe = Recipe(epochs=5, flip=False)
    assert recipe.changed(epochs=None, batch=64, seed=0) == Recipe(epochs=5, flip=False, batch=64)
    assert recipe.changed() == recipe
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 6  # type: ignore[misc]


def test_a_file_without_a_recipe_gives_the_default(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[network]\nname = 'x'\n")
    assert read_recipe(path) == Recipe()
    path.write_text("[recipe]\nlearning_rate = 1\n")
    assert read_recipe(path) == Recipe(learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = 3", "recipe: expected an object, got int '3'"),
        ("[recipe]\nepoch = 3", "recipe has unknown keys: expected data, epochs, "),
        ("[recipe]\nepochs = 'many'", "recipe.epochs: expected int, got str 'many'"),
        ("[recipe]\nepochs = 2.0", "recipe.epochs: expected int, got float '2.0'"),
        ("[recipe]\nflip = 1", "recipe.flip: expected bool, got int '1'"),
        ("[recipe]\noptimizer = 'adam'", "recipe.optimizer: expected 'sgd' or 'adamw', got 'adam'"),
        ("[recipe]\nlearning_rate = nan", "recipe.learning_rate: expected a finite float, got float 'nan'"),
        ("[recipe]\nepochs = 0", "recipe.epochs: expected at least 1, got 0"),
    ],
)
def test_a_damaged_recipe_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_recipe(path)
    assert caught.value.message.startswith(f"{path}: {message}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        read_recipe(tmp_path / "a.toml")
