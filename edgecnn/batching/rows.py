"""The rows of a batch: which models have them, how requests become one run and a run's outputs one answer each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgecnn.batching.requestqueue import Request
from edgecnn.errors import InferenceError
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.specs import TensorSpec

Run = Callable[[Feeds], dict[str, Array]]
Prepare = Callable[[list[Array]], Array]

# Name of the first dimension where any number of rows fits.
_ANY = "N"


def batch_of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int | str | None:
    """Return the first dimension that all inputs and outputs share, a number where it is fixed; None where they do not."""
    if not inputs or not all(spec.shape for spec in (*inputs, *outputs)):
        return None
    first = {spec.shape[0] for spec in inputs}
    if len(first) > 1:
        return None
    (batch,) = first
    ends = {spec.shape[0] for spec in outputs}
    # Files from elsewhere name the same dimension differently at the other end; `split` looks at what came out.
    same = ends == first if isinstance(batch, int) else all(isinstance(end, str) for end in ends)
    return batch if same else None


def of_any_rows(inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the inputs with a free first dimension."""
    return tuple(replace(spec, shape=(_ANY, *spec.shape[1:])) for spec in inputs)


def run_together(run: Run, batch: Sequence[Request], *, fill: int | None) -> list[dict[str, Array]]:
    """Run requests as one batch and return the outputs of each, arrays of their own.

    Args:
        run: the model.
        batch: requests of one key.
        fill: rows that the model wants, the last row is repeated; None where it takes any number.

    Raises:
        InferenceError: an output does not have one row per row of the input.
    """
    if len(batch) == 1 and (fill or batch[0].rows) == batch[0].rows:
        return [run(batch[0].feeds)]
    rows = [request.rows for request in batch]
    missing = (fill or 0) - sum(rows)
    joined = {name: _join([request.feeds[name] for request in batch], missing) for name in batch[0].feeds}
    return split(run(joined), rows, total=max(fill or 0, sum(rows)))


def run_images(run: Run, batch: Sequence[Request], *, fill: int | None, prepare: Prepare) -> list[dict[str, Array]]:
    """Do what `run_together` does, for requests of one image each.

    Args:
        run: the model.
        batch: requests whose one input is uint8 [1, height, width, channels].
        fill: as for `run_together`.
        prepare: makes the model's input of a list of such images without their first dimension.

    Raises:
        InferenceError: as `run_together`.
    """
    (name,) = batch[0].feeds
    frames = [request.feeds[name][0] for request in batch]
    frames += frames[-1:] * ((fill or 0) - len(frames))
    outputs = run({name: prepare(frames)})
    return [outputs] if len(frames) == 1 else split(outputs, [1] * len(batch), total=len(frames))


def _join(arrays: list[Array], missing: int) -> Array:
    if missing > 0:
        arrays = [*arrays, np.broadcast_to(arrays[-1][-1:], (missing, *arrays[-1].shape[1:]))]
    return np.concatenate(arrays)


def split(outputs: dict[str, Array], rows: Sequence[int], *, total: int) -> list[dict[str, Array]]:
    """Return the outputs of each request.

    Args:
        outputs: of the whole batch.
        rows: of each request, in order.
        total: rows of the batch, the filling included.

    Raises:
        InferenceError: an output has another number of rows.
    """
    for name, value in outputs.items():
        if value.shape[:1] != (total,):
            raise InferenceError(
                f"output {name} has shape {list(value.shape)}, not one row for each of {total}",
                "max_batch=1 runs one by one",
            )
    parts = []
    start = 0
    for count in rows:
        # Copies: a view would keep the whole batch alive as long as one of its requesters keeps its answer.
        parts.append({name: value[start : start + count].copy() for name, value in outputs.items()})
        start += count
    return parts
