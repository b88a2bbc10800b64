from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgecnn.data import Split, open_calibration, open_dataset, open_named
from edgecnn.data.fashion_mnist import BUNDLED_FOLDER, FashionMnist
from edgecnn.data.image_folder import ImageFolder
from edgecnn.errors import BadInput, UnknownName


def _image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P5\n1 1\n255\n\7")


def _split(count: int) -> Split:
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return Split("test", images, np.arange(count, dtype=np.int64), trained=False)


def test_by_name() -> None:
    assert isinstance(open_dataset("fashion-mnist"), FashionMnist)
    split = open_calibration("fashion-mnist")
    assert (split.name, len(split), split.trained) == ("calibration", 1000, True)
    assert split.labels.min() == 0


def test_by_folder(tmp_path: Path) -> None:
    _image(tmp_path / "photos/a/1.pgm")
    assert isinstance(open_dataset(tmp_path / "photos"), ImageFolder)
    assert open_dataset(str(tmp_path / "photos")).labels == ("a",)


def test_a_folder_of_idx_files_is_fashion_mnist_and_calibrates_with_its_training_part(tmp_path: Path) -> None:
    for path in BUNDLED_FOLDER.glob("t10k-*"):
        shutil.copy(path, tmp_path)
    assert open_dataset(tmp_path).name == "fashion-mnist"
    assert len(open_dataset(tmp_path).split("test")) == 10_000
    with pytest.raises(BadInput, match="the train part of fashion-mnist is not in"):
        open_calibration(tmp_path)
    for path in BUNDLED_FOLDER.glob("calibration-*"):
        shutil.copy(path, tmp_path / path.name.replace("calibration", "train"))
    split = open_calibration(tmp_path)
    assert (split.name, split.trained, len(split)) == ("train", True, 1000)


@pytest.mark.parametrize("name", ["mnist", "cifar-10", "fashion-mnist", "imagenet-1k"])
def test_no_folder_passes_for_a_known_set(tmp_path: Path, name: str) -> None:
    _image(tmp_path / name / "a/1.pgm")
    assert open_dataset(tmp_path / name).name == f"folder:{name}"


def test_a_folder_of_that_name_does_not_stand_in_for_a_known_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _image(tmp_path / "fashion-mnist/a/1.pgm")
    _image(tmp_path / "pets/a/1.pgm")
    assert open_dataset("fashion-mnist").labels[9] == "Ankle boot"
    assert open_named("fashion-mnist").name == "fashion-mnist"
    with pytest.raises(UnknownName, match="unknown data set 'pets'"):
        open_named("pets")


@pytest.mark.parametrize("names", [("1.pgm", "2.pgm"), ("a/1.pgm", "b/2.pgm"), ("1.pgm", "a/2.pgm")])
def test_calibration_takes_a_folder_with_or_without_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        _image(tmp_path / name)
    split = open_calibration(str(tmp_path))
    assert (split.name, split.trained, split.labels.tolist()) == ("calibration", True, [-1, -1])


@pytest.mark.parametrize("opened", [open_dataset, open_calibration])
class TestErrors:
    def test_an_unknown_name_suggests(self, opened: type) -> None:
        with pytest.raises(UnknownName) as caught:
            opened("fashion-mist")
        assert caught.value.message == "unknown data set (or folder) 'fashion-mist'"
        assert caught.value.suggestion == "fashion-mnist"

    def test_a_folder_that_is_not_there(self, opened: type, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="expected a folder, got nothing there"):
            opened(tmp_path / "missing")

    def test_a_file(self, opened: type, tmp_path: Path) -> None:
        _image(tmp_path / "a.pgm")
        with pytest.raises(BadInput, match="expected a folder, got a file"):
            opened(str(tmp_path / "a.pgm"))

    def test_an_empty_folder(self, opened: type, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=f"^{tmp_path} has no images"):
            opened(tmp_path)


def test_a_file_in_the_current_folder_is_no_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _image(tmp_path / "a.pgm")
    with pytest.raises(BadInput, match="expected a folder, got a file"):
        open_dataset("a.pgm")


def test_batches_are_in_order_and_the_last_is_smaller() -> None:
    seen = [([int(image[0, 0, 0]) for image in images], labels.tolist()) for images, labels in _split(7).batches(3)]
    assert seen == [([0, 1, 2], [0, 1, 2]), ([3, 4, 5], [3, 4, 5]), ([6], [6])]
    assert list(_split(0).batches(3)) == []


@pytest.mark.parametrize(("count", "taken"), [(0, 0), (3, 3), (7, 7), (100, 7)])
def test_take(count: int, taken: int) -> None:
    split = _split(7).take(count)
    assert (split.name, split.trained, len(split)) == ("test", False, taken)
    assert split.labels.tolist() == list(range(taken))
