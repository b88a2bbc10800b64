"""Arrays of zeros that fit a model's inputs, to run it before there is anything to run it on."""

from __future__ import annotations

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.runtimes.base import Array
from edgecnn.specs import TensorSpec


def zero_feeds(inputs: tuple[TensorSpec, ...], *, batch: int, free: int | None = None) -> dict[str, Array]:
    """Return one array of zeros per input.

    Args:
        inputs: the model's inputs.
        batch: stands for a symbolic first dimension; a fixed one is kept.
        free: stands for other symbolic dimensions; None refuses them.

    Raises:
        BadInput: a symbolic dimension besides the first, or a type that numpy does not have.
    """
    return {spec.name: np.zeros(_shape(spec, batch, free), _dtype(spec)) for spec in inputs}


def _shape(spec: TensorSpec, batch: int, free: int | None) -> tuple[int, ...]:
    sizes = []
    for index, size in enumerate(spec.shape):
        if isinstance(size, int):
            sizes.append(size)
        elif index == 0:
            sizes.append(batch)
        elif free is not None:
            sizes.append(free)
        else:
            shape = ", ".join(map(str, spec.shape))
            raise BadInput(
                f"input {spec.name} of shape [{shape}] has no size of its own",
                "call run() with arrays of the size you use",
            )
    return tuple(sizes)


def _dtype(spec: TensorSpec) -> np.dtype[np.generic]:
    try:
        return np.dtype(spec.dtype)
    except TypeError:
        raise BadInput(f"input {spec.name} has type {spec.dtype}, which numpy does not have") from None
