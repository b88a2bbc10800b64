"""What a labelled image set looks like to the rest of edgecnn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

FOLDER_PREFIX = "folder:"
"""Begins the name of every set that is known by its folder only, so that no such set passes for a known one."""


def folder_name(folder: Path) -> str:
    """Return the name under which a set goes into records that is known by its folder only, "folder:photos"."""
    return FOLDER_PREFIX + folder.resolve().name


@dataclass(frozen=True, slots=True)
class Split:
    """One part of a data set.

    Attributes:
        name: "train", "calibration" or "test".
        images: uint8 [H, W, C] each, 0..255, C 1 or 3 (RGB); may decode on access.
        labels: int64 [N], index into the label names.
        trained: whether these images belong to the training part.
        files: the file of each image; empty where images have no files of their own.
    """

    name: str
    images: Sequence[Image] | NDArray[np.uint8]
    labels: NDArray[np.int64]
    trained: bool
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[tuple[list[Image], NDArray[np.int64]]]:
        """Yield images and labels in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield [self.images[i] for i in range(start, stop)], self.labels[start:stop]

    def take(self, count: int) -> Split:
        """Return the first `count` images (all of them when there are fewer)."""
        return Split(self.name, self.images[:count], self.labels[:count], self.trained, self.files[:count])


class Dataset(Protocol):
    """A named set of labelled images.

    `split("test")` is what accuracy is measured on, `split("calibration")` what quantization may look at (never test
    images), `split("train")` what training reads.
    """

    @property
    def name(self) -> str:
        """Name that goes into records: a known set's own, or "folder:" and the name of the folder."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in index order."""
        ...

    def split(self, name: str) -> Split:
        """Return one part.

        Raises:
            UsageError: this set has no such part; the hint says how to get it.
        """
        ...

    def unlabelled(self) -> Split:
        """Return what quantization may look at when this set is named for that alone; labels may be -1.

        Raises:
            UsageError: there are no such images; the hint says how to get them.
        """
        ...
