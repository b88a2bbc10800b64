from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput, UnavailableError
from edgecnn.specs import Preprocess
from edgecnn.zoo import train as train_module
from edgecnn.zoo.recipes import Epoch, Recipe
from edgecnn.zoo.train import Frames, Progress, schedule, train

SPEC = Preprocess(size=(10, 10), channels=1, fit="pad", crop_fraction=0.8, mean=(0.5,), std=(0.25,))
RECIPE = Recipe(epochs=2, batch=16, learning_rate=0.05, warmup_epochs=0.5, crop_padding=1, seed=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a network only loses by sharing its work out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _network(seed: int = 0, *, width: int = 6) -> nn.Module:
    """A network with all that has state or chance: batch norm, dropout, biases."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Flatten(1),
        nn.Linear(width * 9, 3),
    )


def _split(count: int = 200) -> Split:
    """Three kinds of noisy 8 x 8 images: bright above, bright in the middle, bright below."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[3 * label : 3 * label + 2] += 120
    return Split("train", images, labels.astype(np.int64), trained=True)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _trained(folder: Path, recipe: Recipe = RECIPE, *, network_seed: int = 0) -> tuple[dict[str, Tensor], list[Epoch]]:
    model = _network(network_seed)
    curve = train(model, recipe, _split(), SPEC, checkpoint=folder / "checkpoint.pt")
    return _state(model), curve


VARIANTS = {
    "sgd": RECIPE,
    "adamw in bf16": RECIPE.changed(optimizer="adamw", learning_rate=0.005, autocast="bf16"),
    "contiguous": RECIPE.changed(channels_last=False),
}
variants = pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=name, marks=pytest.mark.slow if name == "contiguous" else ())
        for name, recipe in VARIANTS.items()
    ],
)


@variants
def test_the_loss_falls_and_the_classes_are_learnt(recipe: Recipe, tmp_path: Path) -> None:
    state, curve = _trained(tmp_path, recipe.changed(epochs=5))
    assert [epoch.epoch for epoch in curve] == [1, 2, 3, 4, 5]
    assert curve[-1].loss < 0.7 * curve[0].loss
    # Label smoothing of 0.1 over three classes leaves 0.29 at best: -(0.9333 ln 0.9333 + 2 * 0.0333 ln 0.0333).
    assert curve[-1].loss > 0.29
    assert curve[-1].top1 > 0.9
    assert all(torch.isfinite(value).all() for value in state.values())
    assert curve[0].learning_rate > curve[-1].learning_rate > 0


@variants
def test_the_same_seed_gives_the_same_weights_bit_for_bit(recipe: Recipe, tmp_path: Path) -> None:
    one, curve_one = _trained(tmp_path / "one", recipe)
    two, curve_two = _trained(tmp_path / "two", recipe)
    assert _equal(one, two)
    assert curve_one == curve_two


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    one, _ = _trained(tmp_path / "one")
    assert not _equal(one, _trained(tmp_path / "two", RECIPE.changed(seed=4))[0])
    assert not _equal(one, _trained(tmp_path / "three", network_seed=1)[0])


class _Stop(Exception):
    pass


def _stop_at(epoch: int, step: int, error: type[BaseException] = _Stop) -> object:
    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step):
            raise error

    return stop


@variants
def test_a_resumed_training_ends_as_one_that_was_never_interrupted(recipe: Recipe, tmp_path: Path) -> None:
    whole, whole_curve = _trained(tmp_path / "whole", recipe)
    checkpoint = tmp_path / "parts" / "checkpoint.pt"
    with pytest.raises(_Stop):
        train(_network(), recipe, _split(), SPEC, checkpoint=checkpoint, on_progress=_stop_at(2, 5))  # type: ignore[arg-type]
    # Another start, other numbers drawn in between: all comes from the checkpoint.
    model = _network(77)
    torch.rand(100)
    curve = train(model, recipe, _split(), SPEC, checkpoint=checkpoint, resume=True)
    assert curve == whole_curve
    assert _equal(_state(model), whole)


def test_every_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    model = _network()
    model[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].sum()))  # type: ignore[index]
    train(model, RECIPE, _split(), SPEC, checkpoint=tmp_path / "checkpoint.pt")
    assert len({float(total) for total in seen}) == 24


def test_a_finished_training_is_not_gone_on_with(tmp_path: Path) -> None:
    whole, whole_curve = _trained(tmp_path)
    model = _network(5)
    steps: list[Progress] = []
    curve = train(
        model, RECIPE, _split(), SPEC, checkpoint=tmp_path / "checkpoint.pt", resume=True, on_progress=steps.append
    )
    assert steps == []
    assert curve == whole_curve
    assert _equal(_state(model), whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt, _Stop])
def test_an_interruption_leaves_the_last_checkpoint_whole(tmp_path: Path, error: type[BaseException]) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(error):
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, on_progress=_stop_at(1, 3, error))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(error):
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, on_progress=_stop_at(2, 3, error))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [checkpoint]
    state = torch.load(checkpoint, weights_only=True)
    assert [epoch["epoch"] for epoch in state["curve"]] == [1]


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(_Stop):
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, on_progress=_stop_at(2, 1))  # type: ignore[arg-type]
    before = checkpoint.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(UnavailableError, match=r"cannot write .*checkpoint\.pt: File too large"):
            train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.read_bytes() == before
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(BadInput, match="there is no checkpoint") as caught:
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, resume=True)
    assert caught.value.hint == "start without --resume"
    _trained(tmp_path, RECIPE.changed(epochs=1))
    with pytest.raises(BadInput, match="was written with another recipe"):
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, resume=True)
    with pytest.raises(BadInput, match="belongs to another network"):
        train(_network(width=7), RECIPE.changed(epochs=1), _split(), SPEC, checkpoint=checkpoint, resume=True)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"spec": replace(SPEC, crop_fraction=1.0)}, "preprocess"),
        ({"split": _split(201)}, "training images"),
        ({"split": replace(_split(), labels=_split().labels[::-1].copy())}, "training images"),
        ({"subject": {"form": {"input_size": 64}, "data set": "a"}}, "form"),
        ({"subject": {"form": {"input_size": 32}}}, "data set"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, changed: dict[str, Any], name: str) -> None:
    """Weights of all of these have the same shapes."""
    checkpoint = tmp_path / "checkpoint.pt"
    same: dict[str, Any] = {"subject": {"form": {"input_size": 32}, "data set": "a"}, "split": _split(), "spec": SPEC}

    def start(*, resume: bool, split: Split, spec: Preprocess, subject: dict[str, object]) -> list[Epoch]:
        recipe = RECIPE.changed(epochs=1)
        return train(_network(), recipe, split, spec, checkpoint=checkpoint, subject=subject, resume=resume)

    curve = start(resume=False, **same)
    with pytest.raises(BadInput, match=f"was written with another {name} "):
        start(resume=True, **{**same, **changed})
    assert start(resume=True, **same) == curve


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04K\x01.", None])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes | None) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    if content is None:
        torch.save({"weights": torch.zeros(3)}, checkpoint)
    else:
        checkpoint.write_bytes(content)
    with pytest.raises(BadInput, match="is not a checkpoint of a training"):
        train(_network(), RECIPE, _split(), SPEC, checkpoint=checkpoint, resume=True)


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    _trained(tmp_path, RECIPE.changed(epochs=1))
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    with pytest.raises(BadInput, match="is not a checkpoint of a training"):
        train(_network(), RECIPE.changed(epochs=1), _split(), SPEC, checkpoint=checkpoint, resume=True)


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="training images: expected at least one batch of 16, got 15"):
        train(_network(), RECIPE, _split(15), SPEC, checkpoint=tmp_path / "checkpoint.pt")


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the loss is not finite") as caught:
        _trained(tmp_path, RECIPE.changed(learning_rate=1e30))
    assert caught.value.hint == "lower --learning-rate"


def test_progress_counts_steps_and_ends_as_the_curve(tmp_path: Path) -> None:
    seen: list[Progress] = []
    curve = train(_network(), RECIPE, _split(), SPEC, checkpoint=tmp_path / "checkpoint.pt", on_progress=seen.append)
    # 200 images are 12 batches of 16; the rest waits for another order.
    assert [(p.epoch, p.step) for p in seen] == [(epoch, step) for epoch in (1, 2) for step in range(1, 13)]
    assert {(p.epochs, p.steps) for p in seen} == {(2, 12)}
    for epoch, last in zip(curve, (seen[11], seen[23]), strict=True):
        assert (epoch.loss, epoch.top1) == (round(last.loss, 5), round(last.top1, 5))


def test_weight_decay_is_for_weights_only(tmp_path: Path) -> None:
    """With a rate too small to learn anything, what is decayed shrinks by rate * decay per step and the rest stays."""
    recipe = RECIPE.changed(learning_rate=1e-9, weight_decay=1e7, epochs=1, warmup_epochs=0.0, optimizer="adamw")
    before = _state(_network())
    after, _ = _trained(tmp_path, recipe)
    for name in ("0.weight", "3.weight", "7.weight"):
        assert after[name].abs().sum() < 0.97 * before[name].abs().sum()
    for name in ("0.bias", "1.weight", "1.bias", "3.bias", "7.bias"):
        assert torch.allclose(after[name], before[name], atol=1e-6)


@pytest.mark.parametrize(
    ("step", "warmup", "total", "share"),
    [
        (0, 4, 20, 0.25),
        (1, 4, 20, 0.5),
        (3, 4, 20, 1.0),
        (4, 4, 20, 1.0),  # cos 0
        (8, 4, 20, 0.5 * (1 + math.sqrt(0.5))),  # a quarter of the decay: cos 45 degrees
        (12, 4, 20, 0.5),
        (20, 4, 20, 0.0),
        (0, 0, 10, 1.0),
        (5, 0, 10, 0.5),
        (0, 30, 20, 1 / 30),  # a warm-up longer than the training
        (0, 0, 0, 1.0),
    ],
)
def test_schedule_by_hand(step: int, warmup: int, total: int, share: float) -> None:
    assert schedule(step, warmup=warmup, total=total) == pytest.approx(share, abs=1e-12)


def test_rate_of_the_curve_is_that_of_the_last_step(tmp_path: Path) -> None:
    _, curve = _trained(tmp_path)
    # 12 steps an epoch, 6 of warm-up, 24 in all: steps 11 and 23.
    expected = [0.05 * schedule(step, warmup=6, total=24) for step in (11, 23)]
    assert [epoch.learning_rate for epoch in curve] == pytest.approx(expected, abs=1e-8)


def test_frames_are_the_same_with_and_without_memory_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    index = np.array([5, 0, 5, 19])
    kept = Frames(_split(20), SPEC)[index]
    monkeypatch.setattr(train_module, "_CACHE_BYTES", 0)
    split = _split(20)
    decoded = Frames(split, SPEC)
    split.images[:] = 0  # type: ignore[index]
    assert kept.shape == (4, 10, 10, 1)
    assert kept.max() > 0
    assert decoded[index].max() == 0
    assert np.array_equal(Frames(_split(20), SPEC)[index], kept)
