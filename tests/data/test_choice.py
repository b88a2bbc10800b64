from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.data.choice import choose_images
from edgecnn.errors import BadInput, UnknownName


@pytest.fixture
def duo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ./duo with a training and a test part, the current folder around it."""
    for name in ("train/a/1.pgm", "train/b/2.pgm", "test/a/3.pgm"):
        path = tmp_path / "duo" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"P5\n1 1\n255\n\7")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "duo"


def test_a_set_that_is_known_by_name_is_opened_by_it() -> None:
    chosen = choose_images("fashion-mnist")
    assert chosen.evaluation is not None
    assert (chosen.evaluation.name, len(chosen.calibration)) == ("fashion-mnist", 1000)
    assert (chosen.calibration_name, chosen.note) == ("fashion-mnist", "")


@pytest.mark.parametrize("name", ["duo", "folder:duo", "imagenet-1k"])
def test_a_name_in_a_file_never_opens_a_folder(duo: Path, name: str) -> None:
    with pytest.raises(BadInput, match=f"trained on {name}") as caught:
        choose_images(name)
    assert caught.value.hint == "give --data FOLDER"
    chosen = choose_images(name, calibration="duo")
    assert chosen.evaluation is None
    assert (len(chosen.calibration), chosen.calibration_name) == (2, "folder:duo")
    assert chosen.note == f"trained on {name}: give --data FOLDER to measure accuracy"


def test_what_the_user_gives_goes_before_what_the_file_says(duo: Path) -> None:
    chosen = choose_images("fashion-mnist", data="duo")
    assert chosen.evaluation is not None
    assert (chosen.evaluation.name, chosen.calibration_name) == ("folder:duo", "folder:duo")
    assert (len(chosen.calibration), chosen.note) == (2, "")
    chosen = choose_images("folder:elsewhere", data="duo", calibration="fashion-mnist")
    assert chosen.evaluation is not None
    assert (chosen.evaluation.name, chosen.calibration_name) == ("folder:duo", "fashion-mnist")
    assert (len(chosen.calibration), chosen.note) == (1000, "")


def test_without_a_name_photographs_calibrate_and_it_is_said(duo: Path) -> None:
    chosen = choose_images(None)
    assert (chosen.evaluation, chosen.calibration_name) == (None, "fashion-mnist")
    assert "calibrating on fashion-mnist, accuracy is not applicable" in chosen.note
    assert choose_images(None, calibration="duo").note == ""


def test_a_name_that_the_user_mistypes_is_said() -> None:
    with pytest.raises(UnknownName, match="fashion-mist"):
        choose_images(None, data="fashion-mist")
