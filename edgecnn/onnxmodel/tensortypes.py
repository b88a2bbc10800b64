"""Type and shape of a tensor, and what the rules that infer them share: attributes, and values that the graph computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.onnxmodel.graph import OnnxNode

Shape = tuple[int, ...]

ITEM_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "uint16": 2,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}
"""Type -> bytes of one value."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Type and shape of one tensor.

    Attributes:
        dtype: numpy name, "bfloat16" besides.
        shape: sizes.
    """

    dtype: str
    shape: Shape

    @property
    def size_bytes(self) -> int | None:
        """Its size; None for a type of unknown width."""
        item = ITEM_BYTES.get(self.dtype)
        return None if item is None else item * math.prod(self.shape)


Types = dict[str, TensorType]

Values = dict[str, NDArray[np.integer[Any]]]

Rule = Callable[[OnnxNode, Sequence["TensorType | None"], "Values"], "Sequence[TensorType | None]"]


def ints(node: OnnxNode, name: str, default: Shape) -> Shape:
    """Return an attribute that is a list of integers."""
    found = node.attributes.get(name, default)
    return found if isinstance(found, tuple) else default


def integer(node: OnnxNode, name: str, default: int) -> int:
    """Return an attribute that is an integer."""
    found = node.attributes.get(name, default)
    return found if isinstance(found, int) else default


def need(one: TensorType | None) -> TensorType:
    """Return a type that is known.

    Raises:
        LookupError: it is not.
    """
    if one is None:
        raise LookupError
    return one


def axes_of(node: OnnxNode, place: int, values: Values) -> Shape | None:
    """Return the axes of an attribute, or of an input since operator set 13 or 18; None where there are none."""
    if len(node.inputs) > place and node.inputs[place]:
        return tuple(int(axis) for axis in values[node.inputs[place]].reshape(-1))
    return ints(node, "axes", ()) or None


def remember(node: OnnxNode, values: Values, make: Callable[[], NDArray[np.integer[Any]]]) -> None:
    """Keep the value of an output where those of the inputs are known: shapes are computed in the graph."""
    if all(name in values for name in node.inputs if name):
        values[node.outputs[0]] = make()
