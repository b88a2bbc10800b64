"""Parity: does a file give what torch gives?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from edgecnn.errors import ParityError
from edgecnn.exporters.pixels import random_feeds
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact

RELATIVE_TOLERANCE = 1e-3
"""Of the largest reference output. Two engines sum in another order: float32 carries 24 bits, and a hundred layers of a
randomly initialised network amplify the last of them to about 1e-5; wrong padding or a lost layer gives 1e-1 and more."""


def check_parity(module: nn.Module, artifact: Artifact, batches: Sequence[int], *, seed: int = 0) -> float:
    """Return the greatest difference between file and torch, relative to the greatest output, over all batches.

    Args:
        module: the network in eval mode, float32 [N, ...] to one output.
        artifact: the file, run on backend `cpu`.
        batches: batch sizes to compare.
        seed: of the inputs: standard normal values, or any pixels where the file takes these.

    Raises:
        ParityError: a difference beyond RELATIVE_TOLERANCE, or outputs of another shape.
    """
    generator = np.random.default_rng(seed)
    worst = 0.0
    with open_session(artifact, backend="cpu") as session:
        source, target = session.inputs[0], session.outputs[0]
        for batch in batches:
            feed, images = random_feeds(generator, artifact, batch)
            with torch.inference_mode():
                expected = module(torch.from_numpy(images)).numpy()
            actual = session.run({source.name: feed})[target.name]
            worst = max(worst, _compare(expected, actual, f"batch {batch}"))
    return worst


def _compare(expected: Array, actual: Array, where: str) -> float:
    if expected.shape != actual.shape:
        raise ParityError(
            f"shapes {expected.shape} of torch and {actual.shape} of the file",
            max_abs=np.inf,
            tolerance=0.0,
            worst=where,
        )
    difference = np.abs(expected - actual)
    tolerance = RELATIVE_TOLERANCE * float(np.abs(expected).max())
    index = np.unravel_index(int(difference.argmax()), difference.shape)
    max_abs = float(difference[index])
    if not max_abs <= tolerance:
        worst = f"{where}, output {tuple(map(int, index))}"
        raise ParityError("the outputs of torch and the file", max_abs=max_abs, tolerance=tolerance, worst=worst)
    return max_abs / max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
