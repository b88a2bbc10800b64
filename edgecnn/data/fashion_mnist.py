"""Fashion-MNIST: 28 x 28 grayscale photographs of ten kinds of clothing.

Xiao, Rasul, Vollgraf 2017, Zalando, MIT licence. The 10,000 test images and 1,000 training images for calibration are
bundled; training needs the whole set, which is the Debian package `dataset-fashion-mnist` or any folder with the four IDX
files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgecnn.data.dataset import Split
from edgecnn.data.idx import find_part, read_part, unpacked
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

# SHA-256 of the unpacked files, images and labels, as Zalando publishes them.
_PUBLISHED = {
    "t10k": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "train": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
}

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
        folder = self._folder_of(name)
        part = find_part(folder, _STEMS[name])
        if part is None:
            raise BadInput(
                f"the {name} part of fashion-mnist is not in {folder}",
                "apt install dataset-fashion-mnist, or --data FOLDER with the four IDX files",
            )
        images, labels = read_part(*part)
        if labels.max(initial=0) >= len(LABELS):
            raise BadInput(str(part[1]), expected=f"labels below {len(LABELS)}", got=str(labels.max()))
        return Split(name, images, labels, trained=name != "test")

    def unlabelled(self) -> Split:
        """Return the calibration part, or the training part of a folder that was given; both with labels.

        Raises:
            BadInput: the folder has no training part.
        """
        return self.split("train" if self._folder else "calibration")

    def _folder_of(self, part: str) -> Path:
        if part == "calibration":
            return BUNDLED_FOLDER
        return self._folder or (DEBIAN_FOLDER if part == "train" else BUNDLED_FOLDER)


def is_fashion_mnist_folder(folder: Path) -> bool:
    """Tell whether a folder holds Fashion-MNIST: by the content of its test part, or of its training part without one.

    Other sets of the same form (MNIST, KMNIST, ...) have files of the same names.
    """
    for stem, published in _PUBLISHED.items():
        part = find_part(folder, stem)
        if part is not None:
            return all(_has_digest(path, digest) for path, digest in zip(part, published, strict=True))
    return False


def _has_digest(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(unpacked(path)).hexdigest() == digest
    except BadInput:  # damaged: whoever reads it says so
        return False
