from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.data.image_folder import ImageFolder
from edgecnn.errors import BadInput


def _put(root: Path, *names: str) -> Path:
    """Write 2 x 3 gray images whose pixels are 10, 11, 12 ... in the order of the names."""
    for value, name in enumerate(names, start=10):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"P5\n3 2\n255\n" + bytes([value]) * 6)
    return root


def test_class_folders_without_parts_are_the_test_part(tmp_path: Path) -> None:
    root = _put(tmp_path / "pets", "dog/1.pgm", "cat/2.pgm", "cat/1.pgm", "dog/deep/er/3.pgm")
    data = ImageFolder(root)
    assert (data.name, data.labels) == ("folder:pets", ("cat", "dog"))
    split = data.split("test")
    assert (split.name, split.trained, len(split)) == ("test", False, 4)
    assert split.labels.tolist() == [0, 0, 1, 1]
    assert split.labels.dtype == np.int64
    assert [int(split.images[i][0, 0, 0]) for i in range(4)] == [12, 11, 10, 13]
    assert split.images[0].shape == (2, 3, 1)
    assert [str(path.relative_to(root)) for path in split.files] == [
        "cat/1.pgm",
        "cat/2.pgm",
        "dog/1.pgm",
        "dog/deep/er/3.pgm",
    ]
    assert split.take(2).files == split.files[:2]
    for part in ("train", "calibration"):
        with pytest.raises(BadInput, match=f"has no {part} part") as caught:
            data.split(part)
        assert caught.value.hint == f"make {root}/train and /test, or give --calibration FOLDER"


def test_parts_below(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path, "train/b/1.pgm", "train/a/2.pgm", "test/b/3.pgm", "test/c/4.pgm"))
    assert data.labels == ("a", "b", "c")
    assert data.split("train").labels.tolist() == [0, 1]
    assert data.split("test").labels.tolist() == [1, 2]
    calibration = data.split("calibration")
    assert (calibration.name, calibration.trained, calibration.labels.tolist()) == ("calibration", True, [0, 1])
    assert [int(image[0, 0, 0]) for image in calibration.images] == [11, 10]


def test_a_calibration_folder_goes_before_the_training_folder(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path, "train/a/1.pgm", "calibration/b/2.pgm", "test/a/3.pgm"))
    assert [int(image[0, 0, 0]) for image in data.split("calibration").images] == [11]
    assert data.split("calibration").labels.tolist() == [1]


def test_val_serves_as_test_and_test_goes_first(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path / "one", "train/a/1.pgm", "val/a/2.pgm"))
    assert [int(image[0, 0, 0]) for image in data.split("test").images] == [11]
    data = ImageFolder(_put(tmp_path / "two", "val/a/1.pgm", "test/a/2.pgm"))
    assert [int(image[0, 0, 0]) for image in data.split("test").images] == [11]


def test_a_part_that_is_missing_or_empty(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path, "train/a/1.pgm"))
    with pytest.raises(BadInput, match="has no test part") as caught:
        data.split("test")
    assert caught.value.hint == f"make {tmp_path}/test/class/name.jpg"
    (tmp_path / "test").mkdir()
    with pytest.raises(BadInput, match="/test has no images"):
        data.split("test")
    with pytest.raises(BadInput, match="expected train, calibration or test, got 'val'"):
        data.split("val")


def test_a_loose_image_is_named_where_labels_are_needed(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path, "a/1.pgm", "loose.pgm"))
    with pytest.raises(BadInput, match=r"loose\.pgm lies outside a class folder"):
        data.split("test")
    assert len(data.unlabelled()) == 2


@pytest.mark.parametrize("names", [(), ("a/notes.txt", "b/x.npy"), (".hidden/a.pgm", "a/.b.pgm", "a/.cache/c.pgm")])
def test_a_folder_without_images_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match=f"^{tmp_path} has no images") as caught:
        ImageFolder(_put(tmp_path, *names))
    assert "class/name.jpg" in caught.value.hint
    assert ".png" in caught.value.hint


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    """Thumbnails, checkpoints of notebooks and the "._" files of other systems."""
    root = _put(
        tmp_path / ".data", "a/1.pgm", ".thumbnails/2.pgm", "a/._1.pgm", "b/.ipynb_checkpoints/3.pgm", "b/4.pgm"
    )
    data = ImageFolder(root)
    assert data.labels == ("a", "b")
    assert data.split("test").labels.tolist() == [0, 1]
    assert len(data.unlabelled()) == 2


def test_suffixes_in_capitals_count_and_other_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "a" / "folder.jpg").mkdir(parents=True)
    data = ImageFolder(_put(tmp_path, "a/1.PGM", "a/2.Jpg", "a/readme.txt", "a/pgm"))
    assert [int(image[0, 0, 0]) for image in data.split("test").images] == [10, 11]


def test_a_class_without_images_keeps_its_index(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    data = ImageFolder(_put(tmp_path, "a/1.pgm", "c/2.pgm"))
    assert data.labels == ("a", "b", "c")
    assert data.split("test").labels.tolist() == [0, 2]


def test_images_are_decoded_when_they_are_asked_for(tmp_path: Path) -> None:
    split = ImageFolder(_put(tmp_path, *[f"a/{i}.pgm" for i in range(6)])).split("test")
    (tmp_path / "a/0.pgm").write_bytes(b"damaged")
    (tmp_path / "a/5.pgm").unlink()
    assert len(split) == 6
    assert [int(image[0, 0, 0]) for image in split.images[1:5]] == [11, 12, 13, 14]
    assert len(split.take(3)) == 3
    for index in (0, 5, -1):
        with pytest.raises(BadInput):
            split.images[index]
    with pytest.raises(IndexError):
        split.images[6]


def test_unlabelled_takes_any_layout(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path, "1.pgm", "a/2.pgm", "a/b/3.pgm"))
    split = data.unlabelled()
    assert (split.name, split.trained) == ("calibration", True)
    assert split.labels.tolist() == [-1, -1, -1]
    assert [int(image[0, 0, 0]) for image in split.images] == [10, 11, 12]


def test_unlabelled_never_takes_test_images(tmp_path: Path) -> None:
    data = ImageFolder(_put(tmp_path / "a", "train/a/1.pgm", "train/loose.pgm", "test/a/2.pgm", "val/a/3.pgm"))
    assert [int(image[0, 0, 0]) for image in data.unlabelled().images] == [10, 11]
    data = ImageFolder(_put(tmp_path / "b", "train/a/1.pgm", "calibration/2.pgm", "test/a/3.pgm"))
    assert [int(image[0, 0, 0]) for image in data.unlabelled().images] == [11]
    with pytest.raises(BadInput, match="has no calibration part"):
        ImageFolder(_put(tmp_path / "c", "test/a/1.pgm", "val/a/2.pgm")).unlabelled()
    (tmp_path / "c" / "train").mkdir()
    with pytest.raises(BadInput, match="has no images but test images"):
        ImageFolder(tmp_path / "c").unlabelled()
