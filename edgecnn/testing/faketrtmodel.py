"""What a fake TensorRT engine (`faketrt.py`) computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgecnn.runtimes.base import Array

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeTensor:
    """An input or output of a model.

    Attributes:
        name: of the tensor.
        dtype: numpy name.
        shape: -1 where the size is free.
    """

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """What an engine computes.

    Attributes:
        inputs: of the model.
        outputs: of the model.
        function: input arrays by name -> output arrays by name.
        layers: (name, TensorRT's layer type, type of its input, type of its output) of each, types in TensorRT's words.
    """

    inputs: tuple[FakeTensor, ...]
    outputs: tuple[FakeTensor, ...]
    function: Callable[[Mapping[str, Array]], Mapping[str, Array]]
    layers: tuple[tuple[str, str, str, str], ...] = (("all", "Convolution", "FP32", "FP32"),)

    def output_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Return the outputs' shapes for given input shapes, found by computing once."""
        zeros = {one.name: np.zeros(shapes[one.name], one.dtype) for one in self.inputs}
        return {name: np.shape(value) for name, value in self.function(zeros).items()}
