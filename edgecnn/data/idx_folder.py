"""Folders with images as IDX files, as MNIST and its kin are published: `train-...` and `t10k-...`, images and labels."""

from __future__ import annotations

from pathlib import Path

from edgecnn.data.dataset import Split, folder_name
from edgecnn.data.idx import find_part, read_idx, read_part
from edgecnn.errors import BadInput

# Stem of the files of each part; what may be calibrated on is the training part.
_STEMS = {"train": "train", "calibration": "train", "test": "t10k"}


class IdxFolder:
    """A set of digits, letters or the like; its classes are called by their numbers, "0" to the greatest label.

    Args:
        folder: where the IDX files lie.

    Raises:
        BadInput: there is neither a training nor a test part, or its labels are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = folder_name(folder)
        parts = [part for stem in ("train", "t10k") if (part := find_part(folder, stem))]
        if not parts:
            raise BadInput(
                f"{folder} has no whole part", "put train- and t10k- images and labels there, four IDX files"
            )
        greatest = max(int(read_idx(labels).max(initial=0)) for _, labels in parts)
        self.labels = tuple(map(str, range(greatest + 1)))

    def split(self, name: str) -> Split:
        """Return "train", "calibration" (the training images) or "test".

        Raises:
            BadInput: there is no such part, or its files are damaged.
        """
        if name not in _STEMS:
            raise BadInput(f"part of {self.name}", expected="train, calibration or test", got=repr(name))
        part = find_part(self._folder, _STEMS[name])
        if part is None:
            stem = _STEMS[name]
            raise BadInput(
                f"{self._folder} has no {name} part",
                f"put {stem}-images-idx3-ubyte.gz and {stem}-labels-idx1-ubyte.gz there",
            )
        images, labels = read_part(*part)
        return Split(name, images, labels, trained=name != "test")

    def unlabelled(self) -> Split:
        """Return the training images, with their labels.

        Raises:
            BadInput: they are not there, or damaged.
        """
        return self.split("calibration")
