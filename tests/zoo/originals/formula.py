"""Weights and images by formula, so that a recorded answer needs neither weights files nor another library's random numbers.

Every tensor is drawn by numpy's default_rng, seeded with the CRC-32 of its key in the original: kernels and matrices from
a normal distribution of standard deviation sqrt(2 / fan-in), which keeps activations at their size behind a ReLU (He et
al. 2015), batch norm scales and running variances from 0.5..1.5, shifts, biases and running means from -0.1..0.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def draw_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, NDArray[np.generic]]:
    """Return key -> float32 tensor of that shape; int64 zero for the batch counters of batch norm."""
    return {key: _draw(key, tuple(shape)) for key, shape in shapes.items()}


def draw_images(shape: Sequence[int]) -> Array:
    """Return float32 [N, C, H, W] of standard normal values."""
    return np.random.default_rng(crc32(b"image")).standard_normal(tuple(shape)).astype(np.float32)


def _draw(key: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    generator = np.random.default_rng(crc32(key.encode()))
    if len(shape) > 1:
        deviation = math.sqrt(2 / math.prod(shape[1:]))
        return (generator.standard_normal(shape, np.float32) * np.float32(deviation)).astype(np.float32)
    low, high = (-0.1, 0.1) if key.endswith(("bias", "running_mean")) else (0.5, 1.5)
    return generator.uniform(low, high, shape).astype(np.float32)
