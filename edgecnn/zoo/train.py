"""Training: the seeded loop behind the bundled weights, for any zoo network and any labelled image set."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput
from edgecnn.files import replacing
from edgecnn.jsonform import to_json
from edgecnn.preprocess import frame, normalise
from edgecnn.specs import Preprocess
from edgecnn.zoo.augment import augment
from edgecnn.zoo.recipes import Epoch, Recipe

# Decoded frames up to this size are kept in memory; larger sets are decoded again in every epoch.
_CACHE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the training stands: `step` of `steps` in this epoch, running mean loss and accuracy (0..1)."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    top1: float


class Frames:
    """The images of a split at the network's size, uint8 [N, H, W, C], decoded once when they fit into memory."""

    def __init__(self, split: Split, spec: Preprocess) -> None:
        self._split, self._spec = split, spec
        size_bytes = len(split) * spec.size[0] * spec.size[1] * spec.channels
        every = range(len(split))
        self._cache = self._decode(every) if size_bytes <= _CACHE_BYTES else None

    def __getitem__(self, index: NDArray[np.intp]) -> NDArray[np.uint8]:
        if self._cache is not None:
            return self._cache[index]
        return self._decode(index)

    def _decode(self, index: Any) -> NDArray[np.uint8]:
        return np.stack([frame(self._split.images[i], self._spec) for i in index])


def train(
    model: nn.Module,
    recipe: Recipe,
    split: Split,
    spec: Preprocess,
    *,
    checkpoint: Path,
    subject: Mapping[str, object] | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Epoch]:
    """Train a network in place and return its curve.

    After each epoch the checkpoint is replaced, so that an interrupted training can be taken up with `resume`; a
    resumed training ends with the same weights as one that was never interrupted.

    Args:
        model: the network; float32 [N, C, H, W] to logits.
        recipe: how to train.
        split: the training images.
        spec: how an image becomes the network's input.
        checkpoint: file that holds the state after the last finished epoch.
        subject: what else makes this training, by name: the network's form, the data set; a checkpoint of another one is
            refused. The values are dataclasses or plain JSON values.
        resume: start from the checkpoint.
        on_progress: called after every step.

    Raises:
        BadInput: the checkpoint is missing, damaged or of another training, there are fewer images than a batch, or
            the training diverged.
        UnavailableError: the checkpoint cannot be written.
    """
    if len(split) < recipe.batch:
        raise BadInput("training images", expected=f"at least one batch of {recipe.batch}", got=str(len(split)))
    run = _Run(model, recipe, identity(recipe, split, spec, subject or {}))
    if resume:
        run.restore(checkpoint)
    frames = Frames(split, spec)
    labels = torch.from_numpy(split.labels)
    while len(run.curve) < recipe.epochs:
        run.epoch(frames, labels, spec, on_progress)
        run.save(checkpoint)
    return run.curve


def identity(recipe: Recipe, split: Split, spec: Preprocess, subject: Mapping[str, object]) -> dict[str, Any]:
    """Return what must be the same for a training to be taken up, by name, as plain JSON values."""
    images = {"count": len(split), "labels_sha256": hashlib.sha256(split.labels.tobytes()).hexdigest()}
    parts: dict[str, object] = {"recipe": recipe, **subject, "preprocess": spec, "training images": images}
    return {name: to_json(part) for name, part in parts.items()}


class _Run:
    """The state of one training: weights, optimizer, schedule position and curve."""

    def __init__(self, model: nn.Module, recipe: Recipe, identity: dict[str, Any]) -> None:
        self.recipe = recipe
        self.identity = identity
        self.steps = identity["training images"]["count"] // recipe.batch
        self.curve: list[Epoch] = []
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = model.to(memory_format=layout)  # type: ignore[call-overload]
        self.layout = layout
        self.optimizer = _optimizer(model, recipe)

    def epoch(self, frames: Frames, labels: Tensor, spec: Preprocess, on_progress: Callable[[Progress], None]) -> None:
        """Run one pass over the images and append it to the curve."""
        number = len(self.curve)
        # One generator per epoch: a resumed training sees the same order and crops as an uninterrupted one.
        rng = np.random.default_rng((self.recipe.seed, number))
        torch.manual_seed(self.recipe.seed * 100_003 + number)
        self.model.train()
        if hasattr(self.model, "set_progress"):  # a schedule of the network's own, scheduled drop-path for example
            self.model.set_progress(number / self.recipe.epochs)
        loss_sum, right, seen, rate = 0.0, 0, 0, 0.0
        for step, index in enumerate(_batches(len(labels), self.recipe.batch, rng)):
            rate = self._set_rate(number * self.steps + step)
            batch = augment(frames[index], rng, flip=self.recipe.flip, crop_padding=self.recipe.crop_padding)
            loss, hits = self._step(torch.from_numpy(normalise(batch, spec)), labels[index])
            if not math.isfinite(loss):
                raise BadInput("training diverged: the loss is not finite", "lower --learning-rate")
            loss_sum, right, seen = loss_sum + loss * len(index), right + hits, seen + len(index)
            on_progress(Progress(number + 1, self.recipe.epochs, step + 1, self.steps, loss_sum / seen, right / seen))
        self.curve.append(
            Epoch(
                epoch=number + 1,
                loss=round(loss_sum / seen, 5),
                top1=round(right / seen, 5),
                learning_rate=round(rate, 8),
            )
        )

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, int]:
        images = images.to(memory_format=self.layout)
        bf16 = self.recipe.autocast == "bf16"
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            out = self.model(images)
        logits, *auxiliary = out if isinstance(out, tuple) else (out,)
        loss = self._loss(logits, labels)
        for other in auxiliary:
            loss = loss + float(self.model.aux_weight) * self._loss(other, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.item()), int((logits.argmax(1) == labels).sum())

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _set_rate(self, step: int) -> float:
        rate = self.recipe.learning_rate * schedule(
            step, warmup=round(self.recipe.warmup_epochs * self.steps), total=self.recipe.epochs * self.steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def save(self, path: Path) -> None:
        """Replace the checkpoint by the present state, in one step."""
        state = {
            "identity": self.identity,
            "curve": [asdict(epoch) for epoch in self.curve],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        # Into memory first: on a full disk torch.save raises a RuntimeError that says nothing of it.
        buffer = BytesIO()
        torch.save(state, buffer)
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def restore(self, path: Path) -> None:
        """Take up the state that `save` left."""
        if not path.is_file():
            raise BadInput(f"there is no checkpoint {path} to resume from", "start without --resume")
        try:
            state = torch.load(path, weights_only=True)
            written, model, optimizer, curve = (state[key] for key in ("identity", "model", "optimizer", "curve"))
            other = [name for name in {**written, **self.identity} if written.get(name) != self.identity.get(name)]
        except Exception as error:  # torch.load raises whatever comes
            raise BadInput(f"{path} is not a checkpoint of a training", "start without --resume") from error
        if other:
            raise BadInput(
                f"{path} was written with another {' and '.join(other)}",
                "give the same options and data, or start without --resume",
            )
        try:
            self.model.load_state_dict(model)
        except RuntimeError as error:
            raise BadInput(f"{path} belongs to another network", "start without --resume") from error
        self.optimizer.load_state_dict(optimizer)
        self.curve = [Epoch(**epoch) for epoch in curve]


def schedule(step: int, *, warmup: int, total: int) -> float:
    """Return the share of the peak learning rate at a step: linear to 1 over the warm-up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _batches(count: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    order = rng.permutation(count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
