"""Weights of a network: loading bundled, published, random and foreign ones, and saving them in half the space."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from edgecnn.artifacts import file_sha256
from edgecnn.data import open_named
from edgecnn.errors import BadInput, Contradiction, UsageError
from edgecnn.files import replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.specs import Preprocess
from edgecnn.zoo.checkpoints import load_state, preprocess_by
from edgecnn.zoo.ensemble import load_members
from edgecnn.zoo.members import is_ensemble
from edgecnn.zoo.network import Bundled, Form
from edgecnn.zoo.published import choices, described, fetch_published
from edgecnn.zoo.registry import build, find
from edgecnn.zoo.statedict import SOURCES, read_metadata, read_state

# Key of the safetensors metadata under which `save_weights` keeps the origin.
_ORIGIN_KEY = "edgecnn.origin"

# Greatest finite float16 (IEEE 754 binary16).
_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What trained weights are of; it travels inside the file that `edgecnn train` writes.

    Attributes:
        form: network and variant.
        dataset: name of the training set.
        labels: class names in index order.
        preprocess: how an image becomes the input.
        licence: of the weights; empty when unknown.
    """

    form: Form
    dataset: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is known about weights that were loaded.

    Attributes:
        description: "bundled", "random", or the name of the file with its SHA-256, after "imagenet" if it is published.
        dataset: what they were trained on; None when that is unknown or they are random.
        labels: class names in index order; empty when unknown.
        preprocess: how an image becomes the input they were trained on; None when unknown.
        licence: of the weights; empty when unknown.
    """

    description: str
    dataset: str | None = None
    labels: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    licence: str = ""


def load_weights(
    model: nn.Module,
    form: Form,
    source: str | Path,
    *,
    seed: int = 0,
    fetch: Callable[[Form], Path] = fetch_published,
) -> Loaded:
    """Set the weights of a network in place and return what is known about them.

    Args:
        model: as `build(form)` gives it.
        form: what the model is.
        source: "bundled" (trained, in the package), "random" (the network's own initialisation), "imagenet" (the
            publisher's file, downloaded once), or a file: .safetensors, or .pth, .pt or .th with a state dict, possibly
            under "state_dict" or "model"; with our names, or with those of torchvision or timm.
        seed: of random weights.
        fetch: how the publisher's file comes here.

    Raises:
        UsageError: there are no such weights for this network; the hint names the choices.
        BadInput: the file is missing, empty, cut short, not a plain state dict, or does not fit the network.
        UnavailableError: the publisher's file cannot be downloaded.
    """
    if source == "random":
        return _load_random(model, form, seed)
    if source == "imagenet":
        return _load_published(model, form, fetch)
    if source != "bundled":
        return _load_file(model, form, Path(source))
    if is_ensemble(form.network):
        return load_members(model, form, load_bundled)
    network = find(form.network)
    if network.bundled is None:
        raise UsageError(f"{network.name} has no bundled weights", choices(network))
    return load_bundled(model, form, network.bundled)


def load_bundled(model: nn.Module, form: Form, bundled: Bundled) -> Loaded:
    """Set weights that lie in the package and return what is known about them.

    Raises:
        Contradiction: they were trained for another form of the network.
        BadInput: the file is damaged.
    """
    if bundled.form != form:
        raise Contradiction(
            f"the bundled weights of {form.network} are for {described(bundled.form)}, not {described(form)}",
            "leave the options out, or give --weights random or --weights FILE",
        )
    load_state(model, form, read_state(bundled.path), bundled.path)
    return Loaded(
        description="bundled",
        dataset=bundled.dataset,
        labels=open_named(bundled.dataset).labels,
        preprocess=bundled.preprocess,
        licence=bundled.licence,
    )


def read_origin(path: Path) -> Origin | None:
    """Return what a weights file says about itself, None when it says nothing.

    Raises:
        BadInput: the file is missing, damaged or of an unknown kind.
    """
    metadata = read_metadata(path)
    if _ORIGIN_KEY not in metadata:
        return None
    try:
        data = json.loads(metadata[_ORIGIN_KEY])
    except ValueError as error:
        raise BadInput(f"{path}: {_ORIGIN_KEY} is not JSON: {error}", "train or save it again") from None
    return from_json(Origin, data, where=f"{path}: {_ORIGIN_KEY}", ignore_unknown=True)


def save_weights(model: nn.Module, path: Path, *, origin: Origin | None = None) -> None:
    """Write the weights of a network as safetensors, in one step, and what they are of into the file's metadata.

    Kernels and matrices are stored as float16, unless a value is beyond its range; vectors (biases, batch norm scale,
    shift and running statistics, whose small variances would lose digits) and integers are stored as they are.

    Raises:
        UnavailableError: the disk is full, or the folder cannot be written to.
    """
    tensors = {name: _stored(tensor) for name, tensor in model.state_dict().items()}
    metadata = {"format": "pt"}
    if origin is not None:
        metadata[_ORIGIN_KEY] = json.dumps(to_json(origin))
    with replacing(path) as temporary:
        # Not save_file, which reports a full disk without the system's error number.
        temporary.write_bytes(save(tensors, metadata=metadata))


def _load_random(model: nn.Module, form: Form, seed: int) -> Loaded:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.load_state_dict(build(form).state_dict())
    return Loaded(description="random")


def _load_published(model: nn.Module, form: Form, fetch: Callable[[Form], Path]) -> Loaded:
    network = find(form.network)
    path = fetch(form)
    rule = load_state(model, form, read_state(path), path)
    return Loaded(
        description=f"imagenet {path.name} sha256:{file_sha256(path)}",
        dataset=network.dataset,
        preprocess=preprocess_by(rule, network, form) if rule else network.preprocess_for(form),
    )


def _load_file(model: nn.Module, form: Form, path: Path) -> Loaded:
    origin = read_origin(path)
    rule = load_state(model, form, read_state(path), path)
    description = f"{path.name} sha256:{file_sha256(path)}"
    if origin is None or origin.form != form:
        return Loaded(
            description=description, preprocess=preprocess_by(rule, find(form.network), form) if rule else None
        )
    return Loaded(
        description=description,
        dataset=origin.dataset,
        labels=origin.labels,
        preprocess=origin.preprocess,
        licence=origin.licence,
    )


def _stored(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu().contiguous()
    halve = plain.is_floating_point() and plain.ndim > 1 and plain.abs().max().item() <= _FLOAT16_MAX
    return plain.to(torch.float16) if halve else plain.clone()


__all__ = ["SOURCES", "Loaded", "Origin", "load_bundled", "load_weights", "read_origin", "save_weights"]
