"""A pass, held to what every pass promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]

RELATIVE = 1e-5


@pytest.fixture
def exact(run: Callable[..., Any]) -> Callable[..., bool]:
    """`exact(model, step, *inputs)`: whether the pass changed the graph; it must compute the same, and have nothing left."""

    def exact(model: Any, step: Any, *inputs: Array) -> bool:
        name = model.graph.inputs[0].name
        before = [run(model, **{name: x}) for x in inputs]
        changed: bool = step(model)
        for x, outputs in zip(inputs, before, strict=True):
            for one, other in zip(outputs, run(model, **{name: x}), strict=True):
                assert one.shape == other.shape
                assert np.abs(one - other).max() <= RELATIVE * np.abs(one).max()
        assert not step(model), "a second run found something more"
        return changed

    return exact


@pytest.fixture
def random() -> Callable[..., Array]:
    """`random(2, 3, ...)`: float32 of a standard normal distribution, the same in every run."""
    generator = np.random.default_rng(11)
    return lambda *shape: generator.standard_normal(shape).astype(np.float32)


@pytest.fixture
def norm() -> Callable[[int], dict[str, Array]]:
    """`norm(channels)`: constants s, o, m, v of a batch normalization that changes much."""
    generator = np.random.default_rng(12)

    def norm(channels: int) -> dict[str, Array]:
        return {
            "s": generator.uniform(-2, 2, channels).astype(np.float32),
            "o": generator.standard_normal(channels).astype(np.float32),
            "m": generator.standard_normal(channels).astype(np.float32),
            "v": generator.uniform(0.01, 3, channels).astype(np.float32),
        }

    return norm
