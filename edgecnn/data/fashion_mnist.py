"""Fashion-MNIST: 28 x 28 grayscale photographs of ten kinds of clothing.

Xiao, Rasul, Vollgraf 2017, Zalando, MIT licence. The 10,000 test images and 1,000 training images for calibration are
bundled; training needs the whole set, which is the Debian package `dataset-fashion-mnist` or any folder with the four IDX
files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgecnn.data.dataset import Split
from edgecnn.data.idx import read_idx
from edgecnn.errors import BadInput

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
BUNDLED_FOLDER = Path(__file__).with_name("bundled")

# Stem of the image and label files of each part, as Zalando names them; the calibration part is ours.
_STEMS = {"train": "train", "test": "t10k", "calibration": "calibration"}


class FashionMnist:
    """The data set, read from the bundled slice and, for the training part, from a folder.

    Args:
        folder: where the four IDX files lie; by default the Debian package's folder. Test images come from here too
            when the folder is given.
    """

    name = "fashion-mnist"
    labels = LABELS

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def split(self, name: str) -> Split:
        """Return "test" (10,000 images), "calibration" (1,000 training images) or "train" (60,000).

        Raises:
            BadInput: an unknown part, or the training part is asked for and not on this machine.
        """
        if name not in _STEMS:
            raise BadInput("part of fashion-mnist", expected="train, calibration or test", got=repr(name))
        stem = _STEMS[name]
        images_path = self._find(f"{stem}-images-idx3-ubyte", name)
        labels_path = self._find(f"{stem}-labels-idx1-ubyte", name)
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise BadInput(
                str(images_path), expected="[N, H, W] images and N labels", got=f"{images.shape}, {labels.shape}"
            )
        if labels.max(initial=0) >= len(LABELS):
            raise BadInput(str(labels_path), expected=f"labels below {len(LABELS)}", got=str(labels.max()))
        return Split(name, images[..., np.newaxis], labels.astype(np.int64), trained=name != "test")

    def _find(self, stem: str, part: str) -> Path:
        folders = {
            "calibration": (BUNDLED_FOLDER,),
            "test": (self._folder or BUNDLED_FOLDER,),
            "train": (self._folder or DEBIAN_FOLDER,),
        }[part]
        for folder in folders:
            for name in (f"{stem}.gz", stem):
                if (folder / name).is_file():
                    return folder / name
        raise BadInput(
            f"the {part} part of fashion-mnist is not in {folders[0]}",
            "apt install dataset-fashion-mnist, or --data FOLDER with the four IDX files",
        )


def is_fashion_mnist_folder(folder: Path) -> bool:
    """Tell whether a folder holds the IDX files of a Fashion-MNIST part."""
    return any(folder.glob("*-images-idx3-ubyte*"))
