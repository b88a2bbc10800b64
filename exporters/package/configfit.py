"""Does a config.pbtxt, perhaps one that somebody edited, fit a model file? By the rules of Triton's ONNX Runtime backend."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgecnn.exporters.package.pbtxt import Fields, read_text
from edgecnn.exporters.package.tritonconfig import DATA_TYPES
from edgecnn.specs import Artifact, TensorSpec


def read_config(path: Path) -> Fields:
    """Return the fields of a config.pbtxt.

    Raises:
        BadInput: it is not protobuf's text form.
    """
    return read_text(path.read_text(encoding="utf-8", errors="replace"), where=str(path))


def misfit(config: Fields, artifact: Artifact) -> str:
    """Return the first thing in which a configuration and a graph differ, in words; empty where they fit.

    What a configuration leaves out the server fills in from the graph.
    """
    max_batch = _one(config, "max_batch_size", 0)
    asked: list[Any] = config.get("input", [])
    names = {_one(entry, "name", "") for entry in asked}
    missing = [tensor.name for tensor in artifact.spec.inputs if asked and tensor.name not in names]
    if missing:
        return f"input {missing[0]} of the graph is not in it"
    for kind, tensors in (("input", artifact.spec.inputs), ("output", artifact.spec.outputs)):
        for entry in config.get(kind, []):
            if found := _tensor_misfit(entry, tensors, max_batch, exact=kind == "output"):
                return f"{kind} {_one(entry, 'name', '')}: {found}"
    return ""


def label_files(config: Fields) -> list[str]:
    """Return the names of the label files that a configuration mentions."""
    found = [_one(entry, "label_filename", "") for entry in config.get("output", [])]
    return [name for name in found if name]


def _tensor_misfit(entry: Fields, tensors: Sequence[TensorSpec], max_batch: int, *, exact: bool) -> str:
    """Return in what one entry differs; `exact`: a dimension that the graph leaves open has to be open in it as well."""
    tensor = next((one for one in tensors if one.name == _one(entry, "name", "")), None)
    if tensor is None:
        return f"the graph has {', '.join(one.name for one in tensors) or 'none'}"
    dtype = _one(entry, "data_type", "")
    if dtype != DATA_TYPES.get(tensor.dtype):
        return f"it says {dtype}, the graph {DATA_TYPES.get(tensor.dtype, tensor.dtype)}"
    if max_batch and not (tensor.shape and isinstance(tensor.shape[0], str)):
        return f"it says max_batch_size {max_batch}, the graph takes {tensor.shape[0] if tensor.shape else 'no'} images"
    reshape = entry.get("reshape")
    dims = reshape[0].get("shape", []) if reshape else entry.get("dims", [])
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape][1 if max_batch else 0 :]
    fits = len(dims) == len(shape) and all(
        size == dim or (size == -1 and not exact) for size, dim in zip(shape, dims, strict=True)
    )
    return "" if fits else f"it says {dims}, the graph {shape}"


def _one(fields: Fields, name: str, default: Any) -> Any:
    """Return a field that is there at most once."""
    return fields.get(name, [default])[-1]
