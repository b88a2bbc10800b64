"""Random flips and crops of a batch of frames, vectorised over the batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


def augment(frames: Frames, rng: np.random.Generator, *, flip: bool, crop_padding: int) -> Frames:
    """Return uint8 [N, H, W, C] of the same shape: each image mirrored half of the time, then shifted by up to the padding."""
    if flip:
        mirrored = rng.random(len(frames)) < 0.5
        frames = np.where(mirrored[:, None, None, None], frames[:, :, ::-1], frames)
    if crop_padding:
        frames = _random_crop(frames, rng, crop_padding)
    return frames


def _random_crop(frames: Frames, rng: np.random.Generator, padding: int) -> Frames:
    count, height, width, _ = frames.shape
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(frames, border)
    rows = rng.integers(0, 2 * padding + 1, (count, 1)) + np.arange(height)
    columns = rng.integers(0, 2 * padding + 1, (count, 1)) + np.arange(width)
    crops: Frames = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops
