"""A whole training: what is planned from a folder of images, and what is left in the folder of the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgecnn.artifacts import load_artifact  # noqa: E402
from edgecnn.errors import BadInput, Contradiction, UnknownName  # noqa: E402
from edgecnn.exporters.training import plan_training, run_training  # noqa: E402
from edgecnn.toml import read_toml  # noqa: E402
from edgecnn.zoo.choice import choose_form  # noqa: E402
from edgecnn.zoo.registry import find, make_form  # noqa: E402
from edgecnn.zoo.weights import read_origin  # noqa: E402

QUICK = {"epochs": 1, "batch": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is called like a known set: dark and bright 8 x 8 grayscale images, four of each for each part."""
    for part in ("train", "test"):
        for label, value in (("bright", 200), ("dark", 40)):
            for number in range(4):
                path = tmp_path / "mnist" / part / label / f"{number}.pgm"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"P5\n8 8\n255\n" + bytes([value + number]) * 64)
    return tmp_path / "mnist"


def test_a_folder_has_the_networks_preprocessing_whatever_it_is_called(folder: Path) -> None:
    plan = plan_training("resnet20", data=str(folder))
    assert (plan.form.channels, plan.form.classes) == (1, 2)
    assert plan.preprocess == find("resnet20").preprocess_for(plan.form)
    assert plan.preprocess.mean != (0.1307,)  # what the catalogue has for MNIST


def test_a_known_set_has_its_own_preprocessing() -> None:
    assert plan_training("lenet5", data="fashion-mnist").preprocess.mean == (0.286,)


def test_options_change_the_bundled_form(folder: Path) -> None:
    plan = plan_training("mobilenet", data=str(folder), options={"input_size": 48, "width": None})
    assert (plan.form.input_size, plan.form.options["width"]) == (48, 0.25)
    plan = plan_training("resnet50", data=str(folder), options={"stride_in": "1x1", "input_size": 64})
    assert plan.form.options["stride_in"] == "1x1"
    form, _ = choose_form("resnet50", "random", stride_in="1x1")
    assert form == make_form("resnet50", stride_in="1x1") != make_form("resnet50")


def test_what_cannot_be_chosen_is_refused(folder: Path) -> None:
    with pytest.raises(Contradiction, match="channels and classes were given"):
        plan_training("lenet5", data=str(folder), options={"classes": "3", "channels": "3"})
    for name in ("data", "recipe", "network", "nonsense"):
        with pytest.raises(UnknownName):
            plan_training("lenet5", data=str(folder), options={name: "x"})


@pytest.mark.parametrize(
    ("value", "got"),
    [("true", "true"), (True, "true"), ('"0.5"', "'0.5'"), ("NaN", "nan"), ("half", "'half'"), (1, "1")],
)
def test_a_training_option_of_another_kind_is_refused(folder: Path, value: object, got: str) -> None:
    said = f"stochastic_depth: expected a number at least 0 and below 1, got {got}"
    with pytest.raises(BadInput) as caught:
        plan_training("resnet20", data=str(folder), options={"stochastic_depth": value})
    assert caught.value.message == said
    plan = plan_training("resnet20", data=str(folder), recipe=QUICK, options={"stochastic_depth": "0.5"})
    assert plan.recipe.training_options == {"stochastic_depth": 0.5}
    wrong = replace(plan, recipe=replace(plan.recipe, training_options={"stochastic_depth": float("nan")}))
    with pytest.raises(BadInput, match="stochastic_depth: expected a number at least 0 and below 1, got nan"):
        run_training(wrong, folder / "run")
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_all_that_is_left_tells_the_same(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = run_training(plan_training("lenet5", data=str(folder), recipe=QUICK), run)
    names = ["checkpoint.pt", "lenet5.onnx", "lenet5.safetensors", "lenet5.toml"]
    assert sorted(path.name for path in run.iterdir()) == names
    assert (trained.accuracy.dataset, trained.accuracy.images) == ("folder:mnist", 8)
    spec = load_artifact(run / "lenet5.onnx").spec
    assert spec.accuracy == (trained.accuracy,)
    assert (spec.dataset, spec.labels) == ("folder:mnist", ("bright", "dark"))
    origin = read_origin(run / "lenet5.safetensors")
    assert origin is not None
    assert (origin.dataset, origin.labels) == ("folder:mnist", ("bright", "dark"))
    result = read_toml(run / "lenet5.toml")["result"]
    assert (result["dataset"], result["top1"]) == ("folder:mnist", trained.accuracy.value)


def test_another_size_is_not_taken_up(folder: Path, tmp_path: Path) -> None:
    """A network with global pooling has weights of the same shapes at every size."""
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_training(
            plan_training("resnet20", data=str(folder), recipe={**QUICK, "epochs": 2}),
            run,
            on_progress=lambda progress: _stop() if progress.epoch == 2 else None,
        )
    other = plan_training("resnet20", data=str(folder), recipe={**QUICK, "epochs": 2}, options={"input_size": 16})
    with pytest.raises(BadInput, match="was written with another form and preprocess"):
        run_training(other, run, resume=True)
    assert [path.name for path in run.iterdir()] == ["checkpoint.pt"]


def _stop() -> None:
    raise KeyboardInterrupt
