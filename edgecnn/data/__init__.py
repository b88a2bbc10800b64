"""Labelled images: Fashion-MNIST (a bundled slice, the whole set when present), image folders and folders of IDX files.

`open_dataset` takes what follows `--data`, `open_calibration` what follows `--calibration`, and `edgecnn.data.choice` puts
both together; `edgecnn.data.dataset` says what comes back. A set has a reserved name only if it was opened by that name
or its content is that set's; any other is called by its folder, "folder:photos". Add a data set as a file in this folder
and a line in `NAMED`.
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.data.dataset import Dataset, Split
from edgecnn.data.fashion_mnist import FashionMnist, is_fashion_mnist_folder
from edgecnn.data.idx import is_idx_folder
from edgecnn.data.idx_folder import IdxFolder
from edgecnn.data.image_folder import ImageFolder
from edgecnn.errors import BadInput, UnknownName

__all__ = ["NAMED", "Dataset", "Split", "open_calibration", "open_dataset", "open_named"]

NAMED = {"fashion-mnist": FashionMnist}
"""Data sets that are known by name."""


def open_named(name: str) -> Dataset:
    """Return a data set that is known by name, never a folder: for names that come out of files.

    Raises:
        UnknownName: no such data set.
    """
    if name not in NAMED:
        raise UnknownName("data set", name, NAMED)
    return NAMED[name]()


def open_dataset(source: str | Path) -> Dataset:
    """Return the data set of that name or in that folder.

    Args:
        source: "fashion-mnist", a folder with the IDX files of Fashion-MNIST or of a set like it, or an image folder
            (`class/name.jpg`).

    Raises:
        UnknownName: neither a known name nor a folder.
        BadInput: the folder has no images.
    """
    if str(source) in NAMED:
        return open_named(str(source))
    folder = _folder(source)
    if not is_idx_folder(folder):
        return ImageFolder(folder)
    return FashionMnist(folder) if is_fashion_mnist_folder(folder) else IdxFolder(folder)


def open_calibration(source: str | Path) -> Split:
    """Return the images that quantization may look at; those of a folder need no labels and get -1.

    Args:
        source: "fashion-mnist" (its calibration part), a folder with IDX files (its training part), or any folder with
            images: all of them, in class folders or not. Of a folder with parts it is `calibration/`, or else `train/`:
            test images are never among them.

    Raises:
        UnknownName: neither a known name nor a folder.
        BadInput: the folder has no images, or none but test images.
    """
    return open_dataset(source).unlabelled()


def _folder(source: str | Path) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if "/" in str(source) or folder.exists():
        raise BadInput(f"data {source}", expected="a folder", got="a file" if folder.exists() else "nothing there")
    raise UnknownName("data set (or folder)", str(source), NAMED)
