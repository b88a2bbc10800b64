"""Reading weights files: safetensors, or PyTorch files that hold a plain state dict.

The latter are pickles, and a pickle can run code: they are read with the loader that accepts tensors and containers only,
and anything else is refused.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from edgecnn.errors import BadInput, UnknownName

T = TypeVar("T")

SOURCES = ("bundled", "random", "imagenet")
"""Words that name weights; anything else is a file."""

PICKLES = (".pth", ".pt", ".th")
"""Suffixes that are read as PyTorch files."""

# Where training scripts keep the state dict inside a checkpoint, and what wrappers put in front of every key.
_CONTAINERS = ("state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")

# What torch says (torch/_weights_only_unpickler.py) when a file holds more than tensors and containers.
_REFUSALS = ("GLOBAL", "call reduce", "Can only build", "Can only create", "TorchScript")


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a weights file by key, without the prefixes of wrappers.

    Raises:
        BadInput: the file is missing, empty, cut short, of an unknown kind or not a plain state dict, or a tensor is not
            dense, not of real numbers or not finite.
    """
    _check_file(path)
    if path.suffix.lower() in PICKLES:
        state = _unwrapped(_read_pickle(path), path)
    else:
        try:
            state = _unwrapped(load_file(path), path)
        except SafetensorError as error:
            raise _damaged(path, error) from None
    for key, tensor in state.items():
        _check_tensor(key, tensor, path)
    return state


def read_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a weights file by key, without the prefixes of wrappers.

    The values stay on the disk, but for PyTorch files of the form before version 1.6, which cannot be mapped.

    Raises:
        BadInput: the file is missing, empty, cut short, of an unknown kind or not a plain state dict.
    """
    _check_file(path)
    if path.suffix.lower() in PICKLES:
        state = _unwrapped(_read_pickle(path, mapped=zipfile.is_zipfile(path)), path)
        return {key: tuple(tensor.shape) for key, tensor in state.items()}
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise _damaged(path, error) from None
    return _without_wrappers(shapes)


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return what a safetensors file says beside its tensors; PyTorch files say nothing.

    Raises:
        BadInput: the file is missing, empty, damaged or of an unknown kind.
    """
    _check_file(path)
    if path.suffix.lower() in PICKLES:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise _damaged(path, error) from None


def first_three(keys: Iterable[object]) -> str:
    """Return the first keys in words."""
    names = [str(key) for key in keys]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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


def _damaged(path: Path, error: SafetensorError) -> BadInput:
    return BadInput(f"{path} is cut short or not safetensors: {error}", "download or save it again")


def _read_pickle(path: Path, *, mapped: bool = False) -> object:
    """Return what the file holds, read without running code; values that are mapped are read when they are used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
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
    return _without_wrappers({str(key): tensor for key, tensor in loaded.items()})


def _without_wrappers(state: Mapping[str, T]) -> Mapping[str, T]:
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _check_tensor(key: str, tensor: Tensor, path: Path) -> None:
    """Raise BadInput for a tensor that cannot be a weight, or that would make every answer of the network no number."""
    kinds = {
        "a nested tensor": tensor.is_nested,
        f"a {str(tensor.layout).removeprefix('torch.')} tensor": tensor.layout != torch.strided,
        f"a quantized tensor, {tensor.dtype}": tensor.is_quantized,
        f"complex numbers, {tensor.dtype}": tensor.is_complex(),
        "a tensor without values (device meta)": tensor.is_meta,
    }
    got = next((kind for kind, it_is in kinds.items() if it_is), "")
    if not got:
        # As float32, which is what the network computes in.
        values = tensor.float() if tensor.is_floating_point() else tensor
        off = values.numel() - int(torch.isfinite(values).sum())
        got = f"{off:,} of {values.numel():,} values NaN or infinite" if off else ""
    if got:
        raise BadInput(
            f"{path}: {key}",
            "save the float weights of the trained model: torch.save(model.state_dict(), path)",
            expected="a dense tensor of finite real numbers",
            got=got,
        )


def _not_a_state_dict(loaded: object) -> dict[str, str]:
    got = type(loaded).__name__
    if isinstance(loaded, Mapping):
        strange = [str(key) for key, item in loaded.items() if not isinstance(item, Tensor)]
        got = f"no tensor under {first_three(strange)}" if strange else "an empty dict"
    return {"expected": "a state dict of tensors", "got": got}
