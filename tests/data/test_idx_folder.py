from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edgecnn.data import open_calibration, open_dataset
from edgecnn.errors import BadInput


def _write(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Five training and three test images, whose pixels are 1 and 2."""
    _write(tmp_path / "mnist", "train", np.full((5, 28, 28), 1), np.array([0, 1, 2, 6, 4]))
    _write(tmp_path / "mnist", "t10k", np.full((3, 28, 28), 2), np.array([5, 0, 1]))
    return tmp_path / "mnist"


def test_it_is_called_by_its_folder_and_its_classes_by_their_numbers(digits: Path) -> None:
    data = open_dataset(digits)
    assert data.name == "folder:mnist"
    assert data.labels == tuple("0123456")
    test = data.split("test")
    assert (test.name, test.trained, test.labels.tolist()) == ("test", False, [5, 0, 1])
    assert np.asarray(test.images).shape == (3, 28, 28, 1)


def test_its_own_training_part_calibrates(digits: Path) -> None:
    for split in (open_dataset(digits).split("calibration"), open_calibration(digits)):
        assert (split.name, split.trained, len(split)) == ("calibration", True, 5)
        assert np.unique(np.asarray(split.images)).tolist() == [1]
    assert open_dataset(digits).split("train").labels.tolist() == [0, 1, 2, 6, 4]


def test_a_part_that_is_not_there_says_what_belongs_there(tmp_path: Path) -> None:
    _write(tmp_path / "one", "t10k", np.zeros((2, 4, 4)), np.zeros(2))
    data = open_dataset(tmp_path / "one")
    for part in ("train", "calibration"):
        with pytest.raises(BadInput, match=f"one has no {part} part") as caught:
            data.split(part)
        assert caught.value.hint == "put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz there"
    with pytest.raises(BadInput, match="got 'val'"):
        data.split("val")


def test_images_without_labels_are_no_part(tmp_path: Path) -> None:
    _write(tmp_path / "one", "t10k", np.zeros((2, 4, 4)), np.zeros(2))
    (tmp_path / "one" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BadInput, match="one has no whole part"):
        open_dataset(tmp_path / "one")
