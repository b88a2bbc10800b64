"""ONNX operators that move values and leave them as they are -> torch, for `edgecnn.runtimes.torchops`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

Attributes = Mapping[str, Any]
Tensor = torch.Tensor


def only(attributes: Attributes, **wanted: Any) -> None:
    """Raise NotImplementedError for an attribute of another value than the one that is handled."""
    for name, value in wanted.items():
        if attributes.get(name, value) != value:
            raise NotImplementedError(f"attribute {name}={attributes[name]}")


def integers(value: Tensor | None) -> list[int] | None:
    """Return the values of a tensor of numbers; None for an input that a node leaves out."""
    return None if value is None else [int(one) for one in value.reshape(-1).tolist()]


def axes_of(attributes: Attributes, value: Tensor | None) -> list[int] | None:
    """Return the axes that a node names: an input since operator set 13 or 18, an attribute before."""
    given = integers(value)
    return given if given is not None else attributes.get("axes")


def _reshape(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = integers(shape) or []
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = axes_of(attributes, axes)
    return x.squeeze() if given is None else x.squeeze(tuple(given))


def _unsqueeze(attributes: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = axes_of(attributes, axes) or []
    rank = x.ndim + len(given)
    for axis in sorted(axis + rank if axis < 0 else axis for axis in given):
        x = x.unsqueeze(axis)
    return x


def _transpose(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(range(x.ndim))[::-1])).contiguous()


def _slice(
    attributes: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, after = integers(starts) or [], integers(ends) or []
    over = integers(axes) or list(range(len(first)))
    by = integers(steps) or [1] * len(first)
    for start, end, axis, step in zip(first, after, over, by, strict=True):
        places = range(x.shape[axis])[_slice_of(start, end, step, x.shape[axis])]
        x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return x


def _slice_of(start: int, end: int, step: int, size: int) -> slice:
    """Return Python's slice; one that walks back beyond the first element ends with None there."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)


def _split(attributes: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    given = integers(sizes)
    if given is None:
        return tuple(torch.split(x, math.ceil(x.shape[axis] / attributes["outputs"]), dim=axis))
    return tuple(torch.split(x, given, dim=axis))


def _gather(attributes: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = attributes.get("axis", 0)
    axis = axis + x.ndim if axis < 0 else axis
    flat = indices.reshape(-1).to(torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _shape(attributes: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[attributes.get("start", 0) : attributes.get("end")], dtype=torch.int64)


def _expand(attributes: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x * torch.ones(integers(shape) or (), dtype=x.dtype)


def _pad(
    attributes: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    given = integers(pads) or []
    over = [axis + x.ndim if axis < 0 else axis for axis in integers(axes) or range(x.ndim)]
    sides = dict(zip(over, zip(given[: len(over)], given[len(over) :], strict=True), strict=True))
    # torch wants the last axis first, and only the axes that are padded when it mirrors.
    flat = [side for axis in reversed(range(min(over), x.ndim)) for side in sides.get(axis, (0, 0))]
    mode = {"edge": "replicate", "wrap": "circular"}.get(attributes.get("mode", "constant"), attributes.get("mode"))
    if mode in (None, "constant"):
        return F.pad(x, flat, value=0 if value is None else value.item())
    return F.pad(x, flat[: 2 * max(0, x.ndim - 2)], mode=mode)


def _constant(attributes: Attributes) -> Tensor:
    if "value" in attributes:
        return torch.from_numpy(attributes["value"].copy())
    name, value = next((key, attributes[key]) for key in attributes if key.startswith("value_"))
    return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)


def _constant_of_shape(attributes: Attributes, shape: Tensor) -> Tensor:
    value = attributes.get("value")
    filled = torch.zeros(1) if value is None else torch.from_numpy(value.copy())
    return filled.reshape(1).expand(tuple(integers(shape) or ())).contiguous().reshape(tuple(integers(shape) or ()))


def _depth_to_space(attributes: Attributes, x: Tensor) -> Tensor:
    size = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, size)
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, size, size, channels // size**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, channels // size**2, height * size, width * size)


def _space_to_depth(attributes: Attributes, x: Tensor) -> Tensor:
    only(attributes, mode="DCR")
    size = attributes["blocksize"]
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // size, size, width // size, size).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(batch, channels * size**2, height // size, width // size)


SHAPES: Mapping[str, Callable[..., Any]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator -> function."""
