"""What a model is fed with while it is measured: seeded random values of its inputs' dtype and shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.runtimes.base import Array
from edgecnn.specs import TensorSpec
from edgecnn.units import bytes_text

_BYTES = {"int8": (-128, 128), "uint8": (0, 256)}
# Integers of these widths are counts or indices: only the smallest are valid in any table.
_INDICES = ("int16", "int32", "int64", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "float32", "float64")


def make_feeds(inputs: tuple[TensorSpec, ...], *, batch: int, seed: int) -> dict[str, Array]:
    """Return one array per input: standard normal floats, bytes over their whole range, indices 0 or 1, booleans.

    Args:
        inputs: the model's inputs.
        batch: put in for a symbolic first dimension.
        seed: of the values; the same seed gives the same arrays.

    Raises:
        BadInput: a shape or dtype for which no input can be made, see `fitted_shape`.
    """
    generator = np.random.default_rng(seed)
    return {spec.name: _values(spec, fitted_shape(spec, batch=batch), generator) for spec in inputs}


def fitted_shape(spec: TensorSpec, *, batch: int) -> tuple[int, ...]:
    """Return the shape of an input with the batch put in.

    Raises:
        BadInput: the model has another batch built in, or a symbolic dimension besides the first.
    """
    if not spec.shape:
        return ()
    first, rest = spec.shape[0], spec.shape[1:]
    if isinstance(first, int) and first != batch:
        raise BadInput(
            f"input {spec.name} has its batch built in",
            f"measure with --batch {first}, or export with a dynamic batch",
            expected=f"batch {first}",
            got=str(batch),
        )
    fixed = tuple(size for size in rest if isinstance(size, int))
    if len(fixed) != len(rest):
        shape = ", ".join(map(str, spec.shape))
        raise BadInput(
            f"input {spec.name} of shape [{shape}]",
            "export with fixed sizes, --input-size",
            expected="a symbolic batch at most",
            got="another symbolic dimension",
        )
    return (batch, *fixed)


def check_fits(inputs: Sequence[TensorSpec], *, batch: int, left_bytes: int | None) -> None:
    """Return if the inputs of a batch fit into memory; nothing is made for it.

    Args:
        inputs: the model's inputs.
        batch: put in for a symbolic first dimension.
        left_bytes: memory that is left, None where unknown.

    Raises:
        BadInput: they do not, or see `fitted_shape`.
    """
    needed = sum(math.prod(fitted_shape(spec, batch=batch)) * _item_bytes(spec.dtype) for spec in inputs)
    if left_bytes is None or needed <= left_bytes:
        return
    most = left_bytes * batch // needed
    raise BadInput(
        "batch",
        f"--batch {most} fits at most, with nothing left for the network itself",
        expected=f"inputs of at most the {bytes_text(left_bytes)} of memory that are left",
        got=f"{batch:,} images of {bytes_text(needed / batch)} each, {bytes_text(needed)}",
    )


def _item_bytes(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:
        return 1


def _values(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    if spec.dtype == "float32":
        # Drawn as float32: a float64 copy would double the memory of a large batch.
        return np.asarray(generator.standard_normal(shape, np.float32))
    if spec.dtype in _FLOATS:
        return np.asarray(generator.standard_normal(shape), np.dtype(spec.dtype))
    if spec.dtype == "bool":
        return np.asarray(generator.integers(0, 2, shape), np.bool_)
    low, high = _BYTES.get(spec.dtype, (0, 2))
    if spec.dtype not in _BYTES and spec.dtype not in _INDICES:
        known = ", ".join((*_FLOATS, *_BYTES, *_INDICES, "bool"))
        raise BadInput(f"input {spec.name}", expected=f"a dtype of {known}", got=spec.dtype)
    return np.asarray(generator.integers(low, high, shape, np.dtype(spec.dtype)))
