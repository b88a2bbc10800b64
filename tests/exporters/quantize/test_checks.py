"""Calibration images are never those that accuracy is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.data import open_calibration, open_dataset
from edgecnn.errors import Contradiction
from edgecnn.exporters.quantize.checks import check_splits


def _put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"P5\n1 1\n255\n\7")
    return root


@pytest.mark.parametrize(
    ("names", "calibration", "count"),
    [
        (("a/1.pgm", "b/2.pgm"), ".", 2),
        (("a/1.pgm", "b/2.pgm"), "b", 1),
        (("train/a/1.pgm", "test/a/2.pgm"), "test", 1),
        (("train/a/1.pgm", "val/a/2.pgm", "val/b/3.pgm"), "val", 2),
    ],
)
def test_a_folder_does_not_calibrate_what_it_tests(
    tmp_path: Path, names: tuple[str, ...], calibration: str, count: int
) -> None:
    root = _put(tmp_path / "photos", *names)
    test = open_dataset(root).split("test")
    with pytest.raises(Contradiction, match=f"^{count} images? .*both.*{root}/.*pgm"):
        check_splits(open_calibration(root / calibration), test)


def test_another_way_to_the_same_files_is_seen(tmp_path: Path) -> None:
    root = _put(tmp_path / "photos", "a/1.pgm")
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(Contradiction, match="1\\.pgm"):
        check_splits(open_calibration(tmp_path / "link"), open_dataset(root).split("test"))


def test_parts_of_one_folder_and_other_folders_are_good(tmp_path: Path) -> None:
    root = _put(tmp_path / "photos", "train/a/1.pgm", "test/a/2.pgm")
    other = _put(tmp_path / "other", "1.pgm")
    test = open_dataset(root).split("test")
    for calibration in (open_calibration(root), open_dataset(root).split("calibration"), open_calibration(other)):
        check_splits(calibration, test)
    check_splits(open_calibration(root / "test"), None)


def test_a_test_part_does_not_calibrate(tmp_path: Path) -> None:
    test = open_dataset("fashion-mnist").split("test")
    with pytest.raises(Contradiction, match="calibration on 'test' images"):
        check_splits(test, None)
