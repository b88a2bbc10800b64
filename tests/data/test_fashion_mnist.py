from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from edgecnn.data.fashion_mnist import (
    BUNDLED_FOLDER,
    DEBIAN_FOLDER,
    LABELS,
    FashionMnist,
    is_fashion_mnist_folder,
)
from edgecnn.data.idx import read_idx
from edgecnn.errors import BadInput

whole_set = pytest.mark.skipif(
    not is_fashion_mnist_folder(DEBIAN_FOLDER), reason=f"the whole set is not in {DEBIAN_FOLDER}"
)


def _rows(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in np.asarray(images)}


def _write(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


def test_bundled_files_are_the_ones_that_were_summed() -> None:
    lines = [line.split() for line in (BUNDLED_FOLDER / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {path.name for path in BUNDLED_FOLDER.glob("*.gz")}
    assert len(lines) == 4
    for digest, name in lines:
        assert hashlib.sha256((BUNDLED_FOLDER / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(("part", "count", "trained"), [("test", 10_000, False), ("calibration", 1_000, True)])
def test_bundled_parts(part: str, count: int, trained: bool) -> None:
    split = FashionMnist().split(part)
    assert (split.name, len(split), split.trained) == (part, count, trained)
    images = np.asarray(split.images)
    assert (images.shape, images.dtype) == ((count, 28, 28, 1), np.uint8)
    assert split.labels.dtype == np.int64
    assert np.bincount(split.labels).tolist() == [count // 10] * 10
    assert images.max() == 255
    assert len(LABELS) == len(FashionMnist.labels) == 10


def test_the_first_test_images_are_what_they_are_known_to_be() -> None:
    """An ankle boot, a pullover and two trousers, as on the data set's own page."""
    names = [LABELS[label] for label in FashionMnist().split("test").labels[:4]]
    assert names == ["Ankle boot", "Pullover", "Trouser", "Trouser"]


def test_no_test_image_is_in_the_calibration_part() -> None:
    data = FashionMnist()
    assert not _rows(data.split("calibration").images) & _rows(data.split("test").images)


@whole_set
def test_calibration_images_are_the_first_100_training_images_of_each_class() -> None:
    calibration, training = FashionMnist().split("calibration"), FashionMnist().split("train")
    assert (len(training), training.trained) == (60_000, True)
    first = np.sort(np.concatenate([np.flatnonzero(training.labels == label)[:100] for label in range(10)]))
    assert np.array_equal(np.asarray(calibration.images), np.asarray(training.images)[first])
    assert np.array_equal(calibration.labels, training.labels[first])


@whole_set
def test_bundled_test_images_are_the_published_ones() -> None:
    published = read_idx(DEBIAN_FOLDER / "t10k-images-idx3-ubyte.gz")
    assert np.array_equal(np.asarray(FashionMnist().split("test").images)[..., 0], published)


def test_a_folder_gives_its_own_test_and_training_parts(tmp_path: Path) -> None:
    images, labels = np.arange(3 * 4 * 5).reshape(3, 4, 5), np.array([0, 9, 3])
    _write(tmp_path, "t10k", images, labels)
    _write(tmp_path, "train", images[:2], labels[:2])
    data = FashionMnist(tmp_path)
    assert np.asarray(data.split("test").images).shape == (3, 4, 5, 1)
    assert data.split("train").labels.tolist() == [0, 9]
    assert len(data.split("calibration")) == 1000
    assert (data.unlabelled().name, len(data.unlabelled())) == ("train", 2)
    assert len(FashionMnist().unlabelled()) == 1000


def test_packed_files_are_read(tmp_path: Path) -> None:
    for path in BUNDLED_FOLDER.glob("t10k-*"):
        shutil.copy(path, tmp_path)
    assert len(FashionMnist(tmp_path).split("test")) == 10_000


def test_a_part_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        FashionMnist(tmp_path).split("train")
    assert caught.value.message == f"the train part of fashion-mnist is not in {tmp_path}"
    assert caught.value.hint == "apt install dataset-fashion-mnist, or --data FOLDER with the four IDX files"


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(BadInput, match="expected train, calibration or test, got 'val'"):
        FashionMnist().split("val")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 4, 5)), np.zeros(2), r"expected \[N, H, W\] images and N labels, got \(3, 4, 5\), \(2,\)"),
        (np.zeros((3, 4)), np.zeros(3), r"expected \[N, H, W\] images and N labels"),
        (np.zeros((3, 4, 5)), np.array([0, 1, 10]), "expected labels below 10, got 10"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    _write(tmp_path, "t10k", images, labels)
    with pytest.raises(BadInput, match=message):
        FashionMnist(tmp_path).split("test")


def test_a_folder_is_known_by_the_content_of_its_test_part(tmp_path: Path) -> None:
    """Packed or not; MNIST and its kin have files of the same names."""
    for path in BUNDLED_FOLDER.glob("t10k-*"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert is_fashion_mnist_folder(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    assert not is_fashion_mnist_folder(tmp_path)
    shutil.copy(BUNDLED_FOLDER / "t10k-labels-idx1-ubyte.gz", tmp_path)
    assert is_fashion_mnist_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert not is_fashion_mnist_folder(tmp_path)


@pytest.mark.slow
@whole_set
def test_a_folder_without_a_test_part_is_known_by_its_training_part(tmp_path: Path) -> None:
    for path in DEBIAN_FOLDER.glob("train-*"):
        (tmp_path / path.name).symlink_to(path)
    assert is_fashion_mnist_folder(tmp_path)


def test_other_images_of_that_form_are_none(tmp_path: Path) -> None:
    _write(tmp_path, "t10k", np.zeros((3, 28, 28)), np.arange(3))
    _write(tmp_path, "train", np.zeros((3, 28, 28)), np.arange(3))
    assert not is_fashion_mnist_folder(tmp_path)


def test_an_ordinary_folder_is_none(tmp_path: Path) -> None:
    assert not is_fashion_mnist_folder(tmp_path)
    assert not is_fashion_mnist_folder(tmp_path / "missing")
