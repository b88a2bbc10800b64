"""Image folders: `class/name.jpg`.

One sub-folder per class, optionally below `train/`, `calibration/` and `test/` (or `val/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from edgecnn.data.dataset import Image, Split, folder_name
from edgecnn.errors import BadInput
from edgecnn.images import SUFFIXES, read_image

# Photographs of any camera: who evaluates or calibrates has a machine that holds one of them decoded (0.5 GB).
_MOST_PIXELS = 1 << 26

_PARTS = {"train": ("train",), "calibration": ("calibration", "train"), "test": ("test", "val")}


class ImageFolder:
    """A folder of labelled photographs; class names are the sub-folders' names in alphabetical order.

    Without `train/` and `test/` below it, the whole folder is the test part (with class folders) and may serve as a
    calibration set of its own when it is named by `--calibration`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = folder_name(folder)
        roots = [folder / name for names in _PARTS.values() for name in names if (folder / name).is_dir()]
        classes = {child.name for root in roots or [folder] for child in root.iterdir() if child.is_dir()}
        self.labels = tuple(sorted(name for name in classes if not name.startswith(".")))
        self._split_below = bool(roots)
        if not any(_files(folder)):
            wanted = ", ".join(sorted(SUFFIXES))
            raise BadInput(f"{folder} has no images", f"put images there as class/name{SUFFIXES[0]} ({wanted})")

    def split(self, name: str) -> Split:
        """Return a part: "train", "calibration" (the training part unless it has its own folder) or "test".

        Raises:
            BadInput: there is no such part, or it has images outside class folders where labels are needed.
        """
        if name not in _PARTS:
            raise BadInput(f"part of {self._folder}", expected="train, calibration or test", got=repr(name))
        if not self._split_below and name != "test":
            raise BadInput(
                f"{self._folder} has no {name} part",
                f"make {self._folder}/train and /test, or give --calibration FOLDER",
            )
        return self._read(self._part(name), name)

    def unlabelled(self) -> Split:
        """Return all images as a calibration part, class folders or not; labels are -1.

        Of a folder with parts it is `calibration/`, or else `train/`: test images are never among them.

        Raises:
            BadInput: there are parts, and neither of these has images.
        """
        files = tuple(_files(self._part("calibration")))
        if not files:
            raise BadInput(
                f"{self._folder} has no images but test images", "put others into its train/ or calibration/"
            )
        return Split("calibration", _LazyImages(files), np.full(len(files), -1, np.int64), trained=True, files=files)

    def _part(self, name: str) -> Path:
        if not self._split_below:
            return self._folder
        for part in _PARTS[name]:
            if (self._folder / part).is_dir():
                return self._folder / part
        raise BadInput(f"{self._folder} has no {name} part", f"make {self._folder}/{_PARTS[name][0]}/class/name.jpg")

    def _read(self, root: Path, name: str) -> Split:
        files = tuple(_files(root))
        loose = [path for path in files if path.parent == root]
        if loose:
            raise BadInput(f"{loose[0]} lies outside a class folder", "put images there as class/name.jpg")
        if not files:
            raise BadInput(f"{root} has no images", "put images there as class/name.jpg")
        index = {label: number for number, label in enumerate(self.labels)}
        labels = np.array([index[path.relative_to(root).parts[0]] for path in files], np.int64)
        return Split(name, _LazyImages(files), labels, trained=name != "test", files=files)


class _LazyImages(Sequence[Image]):
    """Images that are decoded when they are asked for."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> _LazyImages: ...

    def __getitem__(self, index: int | slice) -> Image | _LazyImages:
        if isinstance(index, slice):
            return _LazyImages(self.files[index])
        return read_image(self.files[index], max_pixels=_MOST_PIXELS)


def _files(root: Path) -> Iterator[Path]:
    """Yield the image files below a folder in order; hidden ones belong to other programs."""
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path
