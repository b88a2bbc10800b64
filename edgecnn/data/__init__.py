"""Labelled images: Fashion-MNIST (a bundled slice, the whole set when present) and image folders.

`open_dataset` takes what follows `--data`, `open_calibration` what follows `--calibration`; `edgecnn.data.dataset` says
what comes back. Add a data set as a file in this folder and a line in `NAMED`.
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.data.dataset import Dataset, Split
from edgecnn.data.fashion_mnist import FashionMnist, is_fashion_mnist_folder
from edgecnn.data.image_folder import ImageFolder
from edgecnn.errors import BadInput, UnknownName

__all__ = ["NAMED", "Dataset", "Split", "open_calibration", "open_dataset"]

NAMED = {"fashion-mnist": FashionMnist}
"""Data sets that are known by name."""


def open_dataset(source: str | Path) -> Dataset:
    """Return the data set of that name or in that folder.

    Args:
        source: "fashion-mnist", a folder with Fashion-MNIST's IDX files, or an image folder (`class/name.jpg`).

    Raises:
        UnknownName: neither a known name nor a folder.
        BadInput: the folder has no images.
    """
    if str(source) in NAMED:
        return NAMED[str(source)]()
    folder = _folder(source)
    return FashionMnist(folder) if is_fashion_mnist_folder(folder) else ImageFolder(folder)


def open_calibration(source: str | Path) -> Split:
    """Return the images that quantization may look at; those of a folder need no labels and get -1.

    Args:
        source: "fashion-mnist" (its calibration part), a folder with Fashion-MNIST's IDX files (its training part), or
            any folder with images: all of them, in class folders or not. Of a folder with parts it is `calibration/`,
            or else `train/`: test images are never among them.

    Raises:
        UnknownName: neither a known name nor a folder.
        BadInput: the folder has no images, or none but test images.
    """
    if str(source) in NAMED:
        return NAMED[str(source)]().split("calibration")
    folder = _folder(source)
    return FashionMnist(folder).split("train") if is_fashion_mnist_folder(folder) else ImageFolder(folder).unlabelled()


def _folder(source: str | Path) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if "/" in str(source) or folder.exists():
        raise BadInput(f"data {source}", expected="a folder", got="a file" if folder.exists() else "nothing there")
    raise UnknownName("data set (or folder)", str(source), NAMED)
