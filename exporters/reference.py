"""The torch network that a file was exported from, built again from what the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnknownName
from edgecnn.exporters.compare import Side
from edgecnn.exporters.network import OPTION_PREFIX
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
    module.eval()

    def run(feed: Array) -> Array:
        with torch.inference_mode():
            answer: Array = module(torch.from_numpy(feed)).numpy()
        return answer

    spec = artifact.spec
    return Side(name="torch", source=spec.inputs[0], target=spec.outputs[0], preprocess=spec.preprocess, run=run)


def form_of_artifact(artifact: Artifact) -> Form:
    """Return the form of the zoo that a file was exported from.

    Raises:
        BadInput: it is not from the zoo, or does not say which form it is.
    """
    spec = artifact.spec
    try:
        network = find(spec.network)
    except UnknownName:
        raise BadInput(f"{artifact.path} is no network of the zoo", "compare it with a file: --against FILE") from None
    _, channels, height, _ = spec.inputs[0].shape
    classes = spec.outputs[0].shape[-1]
    options = _options(_export_step(artifact))
    sizes = {"channels": int(channels), "input_size": int(height), "classes": int(classes)}
    bundled = bundled_form(network)
    if not options and spec.weights == "bundled" and bundled is not None:
        return bundled
    form = make_form(network, **sizes, **options)
    if form.title != spec.title:
        raise BadInput(f"{artifact.path} does not say which form of {network.name} it is", "export it again")
    return form


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
