"""What a packager wants to know about a model file before it touches the disk."""

from __future__ import annotations

from edgecnn.errors import BadInput, Contradiction
from edgecnn.specs import Artifact, TensorSpec

LABELS = "labels.txt"
"""Name of the file of class names."""


def stated_targets(artifact: Artifact) -> tuple[str, ...]:
    """Return the targets that a file was made for, as its lineage says; empty where it does not."""
    for step in reversed(artifact.lineage):
        text = step.options.get("target") or step.options.get("targets")
        if isinstance(text, str) and text:
            return tuple(name.strip() for name in text.split(","))
    return ()


def check_scaling(artifact: Artifact, engine: str, *, scales: bool) -> None:
    """Raise Contradiction if a file scales images itself and what is to run it does not do so as edgecnn does.

    Args:
        artifact: the file.
        engine: what is to run it, in words.
        scales: whether that does.
    """
    preprocess = artifact.spec.preprocess
    if preprocess is not None and preprocess.resize_in_graph and not scales:
        raise Contradiction(
            f"{artifact.path} scales images itself, which is for ONNX Runtime on a processor, not for {engine}",
            "edgecnn export NETWORK --preprocess in-graph, without --resize in-graph",
        )


def check_pixels_for_trt(artifact: Artifact) -> None:
    """Raise Contradiction if a file takes pixels and was not made for TensorRT, which takes bytes into nothing but a Cast."""
    preprocess = artifact.spec.preprocess
    named = (str(step.options.get("target") or "").split(",") for step in artifact.lineage)
    if preprocess is not None and preprocess.in_graph and not any("trt" in names for names in named):
        raise Contradiction(
            f"{artifact.path} moves its pixels as bytes, which TensorRT refuses",
            "edgecnn export NETWORK --preprocess in-graph --target trt",
        )


def labels_text(artifact: Artifact) -> str:
    """Return the class names, one a line; empty where the file names none.

    Raises:
        BadInput: a name that is not one line.
    """
    for label in artifact.spec.labels:
        if label.splitlines() != [label]:
            raise BadInput(
                f"{artifact.path}: label", "export it with other labels", expected="one line", got=repr(label)
            )
    return "".join(f"{label}\n" for label in artifact.spec.labels)


def has_free_batch(artifact: Artifact) -> bool:
    """Tell whether the first dimension of every input and output is symbolic, so that requests can be put together."""
    tensors = (*artifact.spec.inputs, *artifact.spec.outputs)
    return all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in tensors)


def item_shape(artifact: Artifact, tensor: TensorSpec, *, batched: bool) -> tuple[int, ...]:
    """Return a shape that one input takes, sizes that the graph leaves open taken from the file's preprocessing.

    Args:
        artifact: the file.
        tensor: one of its inputs.
        batched: leave the first dimension out; it is 1 otherwise where the graph leaves it open.

    Returns:
        One size a dimension, -1 where nobody says.
    """
    known: dict[int, int] = {0: 1}
    preprocess = artifact.spec.preprocess
    if preprocess is not None and tensor == artifact.spec.inputs[0] and len(tensor.shape) == 4:
        height, width = preprocess.example_size if preprocess.resize_in_graph else preprocess.size
        image = (height, width, preprocess.channels) if preprocess.in_graph else (preprocess.channels, height, width)
        known |= dict(enumerate(image, 1))
    sizes = [size if isinstance(size, int) else known.get(index, -1) for index, size in enumerate(tensor.shape)]
    return tuple(sizes[1:] if batched else sizes)
