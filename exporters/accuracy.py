"""Accuracy of a model file on labelled images, measured through a backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from edgecnn.data.dataset import Dataset, Split
from edgecnn.errors import BadInput
from edgecnn.preprocess import prepare, runs_of_one_size
from edgecnn.runtimes import OpenOptions, Session, open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Accuracy, Artifact, ModelSpec, Preprocess, TensorSpec

Progress = Callable[[int, int], None]

DEFAULT_BATCH = 64

# Images that are held at a time, by the size of the model's input: a larger batch gains nothing and costs memory.
_INPUT_BYTES = 16 << 20


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


def measure_accuracy(
    artifact: Artifact,
    split: Split,
    *,
    dataset: str,
    backend: str = "cpu",
    batch: int = DEFAULT_BATCH,
    threads: int | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Accuracy:
    """Return the top-1 accuracy of a file on a split; memory does not grow with the number of images.

    Args:
        artifact: the model; its preprocessing is applied to every image.
        split: images and labels.
        dataset: name of the set that the split belongs to.
        backend: what runs the model.
        batch: images per run at most; a file with a fixed batch runs at that.
        threads: of the backend; None leaves it to the backend.
        on_progress: called with images done and images in all.

    Raises:
        BadInput: no images, a file that does not say how to prepare an image, a label beyond the model's outputs.
    """
    preprocess = require_preprocess(artifact)
    if len(split) == 0:
        raise BadInput(f"{split.name} of {dataset}", expected="at least one image", got="none")
    hits = done = 0
    with open_session(artifact, backend=backend, options=OpenOptions(threads=threads)) as session:
        check_labels(session.outputs[0], split)
        for feed, labels in input_batches(session.inputs[0], preprocess, split, batch):
            logits = _logits(session, feed)[: len(labels)]
            hits += int(np.count_nonzero(logits.argmax(axis=1) == labels))
            done += len(labels)
            on_progress(done, len(split))
    return Accuracy(
        metric="top1",
        value=hits / done,
        dataset=dataset,
        split=split.name,
        images=done,
        precision=artifact.precision,
        backend=backend,
    )


def require_preprocess(artifact: Artifact) -> Preprocess:
    """Return how the file wants an image to be prepared.

    Raises:
        BadInput: the file does not say.
    """
    if artifact.spec.preprocess is None:
        raise BadInput(
            f"{artifact.path} does not say how an image becomes its input",
            "say it and export again: edgecnn export FILE --mean R,G,B --std R,G,B (--fit, --crop-fraction) -o NEW.onnx",
        )
    return artifact.spec.preprocess


def check_labels(output: TensorSpec, split: Split) -> None:
    """Raise BadInput unless the output is [N, classes] and every label is one of its classes."""
    classes = output.shape[-1]
    if len(output.shape) != 2 or not isinstance(classes, int):
        raise BadInput(f"output {output.name}", expected="shape [N, classes]", got=f"{list(output.shape)}")
    lowest, highest = int(split.labels.min()), int(split.labels.max())
    if lowest < 0 or highest >= classes:
        raise BadInput(
            f"labels of {split.name}",
            "measure on the data set that the model was trained on",
            expected=f"0 to {classes - 1}, the model's outputs",
            got=f"{lowest} to {highest}",
        )


def check_classes(spec: ModelSpec, evaluation: Dataset) -> None:
    """Raise BadInput unless the model's outputs are the classes of a data set, in its order, as far as the model names them."""
    if spec.dataset == evaluation.name:
        return
    hint = "give --data with images of the model's classes, --labels in the order of the data set"
    if spec.labels and evaluation.labels and spec.labels != evaluation.labels:
        kinds = zip_longest(spec.labels, evaluation.labels, fillvalue="none")
        index, (mine, theirs) = next((i, pair) for i, pair in enumerate(kinds) if pair[0] != pair[1])
        raise BadInput(f"class {index} of {evaluation.name}", hint, expected=f"{mine}, as the model has it", got=theirs)
    classes, count = spec.outputs[0].shape[-1], len(evaluation.labels)
    if classes != count:
        raise BadInput(f"classes of {evaluation.name}", hint, expected=f"{classes}, as the model has", got=str(count))


def input_batches(
    source: TensorSpec, preprocess: Preprocess, split: Split, batch: int, *, of_one_size: bool = False
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """Yield model inputs and their labels, in order.

    Where the file has a fixed batch, an input of fewer images is filled up with its last one; there are then fewer labels.

    Args:
        source: the model's input.
        preprocess: how an image becomes that input.
        split: images and labels.
        batch: images at a time at most, where the file leaves it open.
        of_one_size: put only images of one size that follow each other into one input; a file that scales images itself takes
            no others, and another has to do so that is compared with it.
    """
    fixed = source.shape[0]
    size = fixed if isinstance(fixed, int) else min(batch, images_within(_INPUT_BYTES, preprocess))
    for images, labels in split.batches(size):
        done = 0
        for run in runs_of_one_size(images) if of_one_size or preprocess.resize_in_graph else (images,):
            missing = fixed - len(run) if isinstance(fixed, int) else 0
            yield prepare(run + run[-1:] * missing, preprocess), labels[done : done + len(run)]
            done += len(run)


def images_within(size_bytes: int, preprocess: Preprocess) -> int:
    """Return how many prepared images fit into so many bytes, at least 1."""
    height, width = preprocess.size
    value_bytes = 1 if preprocess.in_graph else 4
    return max(1, size_bytes // (height * width * preprocess.channels * value_bytes))


def _logits(session: Session, feed: Array) -> Array:
    return session.run({session.inputs[0].name: feed})[session.outputs[0].name]
