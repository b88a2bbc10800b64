"""The torch network that a file was exported from, built again from what the file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnknownName
from edgecnn.exporters.compare import Answers, Side
from edgecnn.exporters.network import OPTION_PREFIX
from edgecnn.exporters.pixels import images_of
from edgecnn.exporters.scaling import framed_input
from edgecnn.exporters.verifyoptions import is_module_name
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact, Step
from edgecnn.zoo.network import Form
from edgecnn.zoo.registry import build, bundled_form, find, make_form
from edgecnn.zoo.weights import load_weights

_DIGEST = " sha256:"


def torch_side(artifact: Artifact, *, weights: str | None = None) -> Side:
    """Return the network behind a file, in eval mode.

    Args:
        artifact: exported by edgecnn, or made from such a file.
        weights: where its weights are; None finds those that the file names.

    Raises:
        BadInput: the file does not come from the zoo, or its weights are not where they could be found.
    """
    form = form_of_artifact(artifact)
    module = build(form)
    load_weights(module, form, weights or _weights_of(artifact), seed=_seed(artifact))
    return _side(artifact, module.eval(), "torch")


def module_side(artifact: Artifact, reference: str, *, weights: str | None = None) -> Side:
    """Return a user's network beside the file that was exported from it; this runs the user's code.

    Args:
        artifact: exported by edgecnn, or made from such a file.
        reference: "pkg.module:name", as `edgecnn export` takes it.
        weights: a state dict; None finds the one that the file names, or repeats the construction with the seed of the export.

    Raises:
        BadInput: no such network, or its weights are not where they could be found.
        ExportError: the user's code failed.
    """
    from edgecnn.exporters.foreign.factory import AS_CONSTRUCTED, make_again  # noqa: PLC0415 (for this comparison only)

    channels, *sides = _image_shape(artifact)
    batch = artifact.spec.inputs[0].shape[0]
    if weights is None and artifact.spec.weights != AS_CONSTRUCTED:
        weights = _weights_of(artifact)
    module = make_again(
        reference,
        (channels, sides[0], sides[1]),
        weights=None if weights is None else Path(weights),
        batch=batch if isinstance(batch, int) else None,
        seed=_seed(artifact),
    )
    return _side(artifact, module, reference)


def _side(artifact: Artifact, module: torch.nn.Module, name: str) -> Side:
    spec = artifact.spec
    target = spec.outputs[0]

    def run(feed: Array) -> Answers:
        with torch.inference_mode():
            answer: Array = module(torch.from_numpy(images_of(feed, spec.preprocess))).numpy()
        return {target.name: answer}

    return Side(name=name, source=spec.inputs[0], targets=(target,), preprocess=spec.preprocess, run=run)


def form_of_artifact(artifact: Artifact) -> Form:
    """Return the form of the zoo that a file was exported from.

    Raises:
        BadInput: it is not from the zoo, or does not say which form it is.
    """
    spec = artifact.spec
    try:
        network = find(spec.network)
    except UnknownName:
        raise BadInput(
            f"{artifact.path} is no network of the zoo, which torch stands for", _hint_for_other(artifact)
        ) from None
    options = _options(_export_step(artifact))
    bundled = bundled_form(network)
    sizes = _sizes(artifact)
    if not options and spec.weights == "bundled" and bundled is not None:
        form = bundled
    else:
        form = make_form(network, **sizes, **options)
    found = {"channels": form.channels, "input_size": form.input_size, "classes": form.classes}
    if form.title != spec.title or found != sizes:
        raise BadInput(
            f"{artifact.path} does not say which form of {network.name} it is",
            "export it again",
            expected=f"{spec.title} with {_in_words(sizes)}, as its input and output are",
            got=f"{form.title} with {_in_words(found)}",
        )
    return form


def _hint_for_other(artifact: Artifact) -> str:
    """Return what a file that is not of the zoo can be compared with."""
    step = _export_step(artifact)
    source = str(step.options.get("source", "")) if step else ""
    # A name out of a file is never imported by itself: the user has to give it.
    own = f"with the code it was made from: --against {source}, or " if is_module_name(source) else ""
    return f"compare it {own}with a file: --against FILE"


def _image_shape(artifact: Artifact) -> tuple[int, int, int]:
    """Return (channels, height, width) of the images that torch takes.

    Raises:
        BadInput: one is open, or the input is no image.
    """
    spec = framed_input(artifact.spec)
    shape = spec.inputs[0].shape[1:] if len(spec.inputs) == 1 else ()
    if spec.preprocess is not None and spec.preprocess.in_graph:
        shape = (*shape[2:], *shape[:2])
    sizes = [side for side in shape if isinstance(side, int)]
    if len(shape) != 3 or len(sizes) != 3:
        raise BadInput(
            f"input of {artifact.path}", expected="one image of one size", got=f"[{', '.join(map(str, shape))}]"
        )
    return sizes[0], sizes[1], sizes[2]


def _sizes(artifact: Artifact) -> dict[str, int]:
    """Return channels, input size and classes as the input and output of a file have them.

    Raises:
        BadInput: one is open, or the file does not have one square image as input and one vector as output.
    """
    spec = framed_input(artifact.spec)
    shapes = [one.shape for one in (*spec.inputs, *spec.outputs)]
    if [len(shape) for shape in shapes] == [4, 2]:
        (_, channels, height, width), (_, classes) = shapes
        if spec.preprocess is not None and spec.preprocess.in_graph:
            _, height, width, channels = shapes[0]
        if isinstance(channels, int) and isinstance(height, int) and height == width and isinstance(classes, int):
            return {"channels": channels, "input_size": height, "classes": classes}
    raise BadInput(
        f"input and output of {artifact.path}",
        "export it with edgecnn, or compare it with a file: --against FILE",
        expected="[N, channels, size, size] and [N, classes] with sizes that are numbers",
        got=" and ".join(f"[{', '.join(map(str, shape))}]" for shape in shapes) or "none",
    )


def _in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in sizes.items())


def _export_step(artifact: Artifact) -> Step | None:
    return next((step for step in artifact.lineage if step.tool == "edgecnn export"), None)


def _options(step: Step | None) -> dict[str, Any]:
    given = step.options if step else {}
    return {name.removeprefix(OPTION_PREFIX): value for name, value in given.items() if name.startswith(OPTION_PREFIX)}


def _seed(artifact: Artifact) -> int:
    step = _export_step(artifact)
    seed = step.options.get("seed") if step else 0
    return seed if isinstance(seed, int) else 0


def _weights_of(artifact: Artifact) -> str:
    """Return the source of the weights that a file names; a weights file is looked for beside it."""
    weights = artifact.spec.weights
    word = weights.partition(" ")[0]
    if word in ("bundled", "random", "imagenet"):
        return word
    name, _, digest = weights.partition(_DIGEST)
    path: Path = artifact.path.with_name(name or "weights")
    if not path.is_file() or file_sha256(path) != digest:
        raise BadInput(
            f"the weights of {artifact.path}, {weights or 'unnamed'}, are not beside it", "give --weights FILE"
        )
    return str(path)
