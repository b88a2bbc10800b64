"""Labelled images: Fashion-MNIST (a bundled slice, the whole set when present) and image folders.

`open_dataset` takes what follows `--data`; `edgecnn.data.dataset` says what comes back. Add a data set as a file in
this folder and a line in `NAMED`.
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.data.dataset import Dataset, Split
from edgecnn.data.fashion_mnist import FashionMnist, is_fashion_mnist_folder
from edgecnn.data.image_folder import ImageFolder
from edgecnn.errors import BadInput, UnknownName

__all__ = ["NAMED", "Dataset", "Split", "open_dataset"]

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
    folder = Path(source)
    if not folder.is_dir():
        if "/" in str(source) or folder.exists():
            raise BadInput(f"data {source}", expected="a folder", got="a file" if folder.exists() else "nothing there")
        raise UnknownName("data set (or folder)", str(source), NAMED)
    if is_fashion_mnist_folder(folder):
        return FashionMnist(folder)
    return ImageFolder(folder)
