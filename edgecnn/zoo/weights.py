"""Weights of a network: loading bundled, random and foreign ones, and saving them in half the space.

Files are safetensors, or PyTorch files that hold a plain state dict. The latter are pickles, and a pickle can run code:
they are read with the loader that accepts tensors and containers only, and anything else is refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edgecnn.artifacts import file_sha256
from edgecnn.data import open_named
from edgecnn.errors import BadInput, Contradiction, UnknownName, UsageError, first_line
from edgecnn.files import replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.specs import Preprocess
from edgecnn.zoo.network import Bundled, Form, Network
from edgecnn.zoo.registry import build, find, networks

SOURCES = ("bundled", "random", "imagenet")
"""Words that name weights; anything else is a file."""

PICKLES = (".pth", ".pt", ".th")
"""Suffixes that are read as PyTorch files."""

# Where training scripts keep the state dict inside a checkpoint, and what wrappers put in front of every key.
_CONTAINERS = ("state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")

# Inference does not read it, and files from before PyTorch 0.4.1 lack it.
_OPTIONAL = "num_batches_tracked"

# What torch says (torch/_weights_only_unpickler.py) when a file holds more than tensors and containers.
_REFUSALS = ("GLOBAL", "call reduce", "Can only build", "Can only create", "TorchScript")

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
        description: "bundled", "random", or the name of the file with its SHA-256.
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


def load_weights(model: nn.Module, form: Form, source: str | Path, *, seed: int = 0) -> Loaded:
    """Set the weights of a network in place and return what is known about them.

    Args:
        model: as `build(form)` gives it.
        form: what the model is.
        source: "bundled" (trained, in the package), "random" (the network's own initialisation), or a file:
            .safetensors, or .pth, .pt or .th with a state dict, possibly under "state_dict" or "model".
        seed: of random weights.

    Raises:
        UsageError: there are no such weights for this network; the hint names the choices.
        BadInput: the file is missing, empty, cut short, not a plain state dict, or does not fit the network.
    """
    if isinstance(source, str) and source in SOURCES:
        network = find(form.network)
        if source == "random":
            return _load_random(model, form, seed)
        if source == "imagenet":
            raise UsageError(f"no published weights file is registered for {network.name}", _choices(network))
        if network.bundled is None:
            raise UsageError(f"{network.name} has no bundled weights", _choices(network))
        return load_bundled(model, form, network.bundled)
    return _load_file(model, form, Path(source))


def load_bundled(model: nn.Module, form: Form, bundled: Bundled) -> Loaded:
    """Set weights that lie in the package and return what is known about them.

    Raises:
        Contradiction: they were trained for another form of the network.
        BadInput: the file is damaged.
    """
    if bundled.form != form:
        raise Contradiction(
            f"the bundled weights of {form.network} are for {_described(bundled.form)}, not {_described(form)}",
            "leave the options out, or give --weights random or --weights FILE",
        )
    _fit(model, _read(bundled.path), bundled.path)
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
    _check_file(path)
    if path.suffix.lower() in PICKLES:
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, error) from None
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


def _load_file(model: nn.Module, form: Form, path: Path) -> Loaded:
    origin = read_origin(path)
    _fit(model, _read(path), path)
    description = f"{path.name} sha256:{file_sha256(path)}"
    if origin is None or origin.form != form:
        return Loaded(description=description)
    return Loaded(
        description=description,
        dataset=origin.dataset,
        labels=origin.labels,
        preprocess=origin.preprocess,
        licence=origin.licence,
    )


def _check_file(path: Path) -> None:
    known = (".safetensors", *PICKLES)
    if not path.exists():
        if not path.suffix and len(path.parts) == 1:
            raise UnknownName("weights", str(path), [*SOURCES, f"a file ({', '.join(known)})"])
        raise BadInput(f"weights file {path} does not exist")
    if path.is_dir():
        raise BadInput(f"weights {path}", "give the file in it", expected="a file", got="a folder")
    if path.suffix.lower() not in known:
        raise BadInput(f"weights file {path}", expected=f"one of {', '.join(known)}", got=path.suffix or "no suffix")
    if path.stat().st_size == 0:
        raise BadInput(f"weights file {path} is empty")


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix.lower() in PICKLES:
        return _unwrapped(_read_pickle(path), path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: SafetensorError) -> BadInput:
    return BadInput(f"{path} is cut short or not safetensors: {error}", "download or save it again")


def _read_pickle(path: Path) -> object:
    """Return what the file holds, read without running code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInput(
            f"{path} is cut short or cannot be read: {error.strerror}", "download or save it again"
        ) from None
    except Exception as error:
        if any(phrase in str(error) for phrase in _REFUSALS) or _is_other_pickle(path):
            raise BadInput(
                f"{path} is not a plain state dict: it holds other objects, and loading them could run code",
                "save it with torch.save(model.state_dict(), path) or as safetensors",
            ) from None
        raise BadInput(f"{path} is cut short or not a PyTorch file", "download or save it again") from None


def _is_other_pickle(path: Path) -> bool:
    """Tell a pickle of protocol 3 or newer, which torch.save never writes: it begins with 0x80 and the protocol."""
    with path.open("rb") as file:
        start = file.read(2)
    return start[:1] == b"\x80" and start[1:] in (b"\x03", b"\x04", b"\x05")


def _unwrapped(loaded: object, path: Path) -> Mapping[str, Tensor]:
    """Return the state dict of a checkpoint, without the prefixes of wrappers."""
    for key in _CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(item, Tensor) for item in loaded.values()):
        raise BadInput(f"{path}", "save it with torch.save(model.state_dict(), path)", **_not_a_state_dict(loaded))
    for prefix in _WRAPPERS:
        if all(str(key).startswith(prefix) for key in loaded):
            loaded = {str(key).removeprefix(prefix): tensor for key, tensor in loaded.items()}
    return loaded


def _not_a_state_dict(loaded: object) -> dict[str, str]:
    got = type(loaded).__name__
    if isinstance(loaded, Mapping):
        strange = [str(key) for key, item in loaded.items() if not isinstance(item, Tensor)]
        got = f"no tensor under {_first_three(strange)}" if strange else "an empty dict"
    return {"expected": "a state dict of tensors", "got": got}


def _fit(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a state dict into the model, or say what does not fit and change nothing."""
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith(_OPTIONAL)]
    unexpected = [key for key in state if key not in own]
    misshaped = [
        f"{key} {list(state[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in own.items()
        if key in state and state[key].shape != tensor.shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    found = "; ".join(f"{len(keys)} {what}: {_first_three(keys)}" for what, keys in faults.items() if keys)
    if found:
        raise BadInput(
            f"the weights in {path} do not fit: {found}", "check the network, its options, --classes and --channels"
        )
    try:
        model.load_state_dict({key: state.get(key, tensor) for key, tensor in own.items()})
    except RuntimeError as error:
        raise BadInput(f"the weights in {path} cannot be copied: {first_line(error)}") from None


def _first_three(keys: Iterable[object]) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _stored(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu().contiguous()
    halve = plain.is_floating_point() and plain.ndim > 1 and plain.abs().max().item() <= _FLOAT16_MAX
    return plain.to(torch.float16) if halve else plain.clone()


def _choices(network: Network) -> str:
    bundled = [other for other in networks() if other.bundled]
    family = [other.name for other in bundled if other.family == network.family and other is not network]
    near = f"; of the {network.family} family, {', '.join(family)} has bundled weights" if family else ""
    own = "bundled, " if network.bundled else ""
    return f"choose --weights {own}random or FILE{near}"


def _described(form: Form) -> str:
    return f"{form.title} with {form.channels} channel{'s' * (form.channels > 1)} and {form.classes} classes"
