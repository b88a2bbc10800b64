"""The table of sizes that is read without torch holds every known form, and the walk over the layers agrees with it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from edgecnn.zoo import make_form, networks
from edgecnn.zoo.sizes import SIZES, known_forms, known_sizes, write_sizes

HINT = "run python -m edgecnn.zoo.sizes"


def test_every_known_form_is_in_the_table() -> None:
    forms = list(known_forms())
    assert {make_form(network).title for network in networks()} <= {form.title for form in forms}
    assert [form.title for form in forms if known_sizes(form) is None] == [], HINT


def test_a_form_that_nobody_asked_about_is_not_in_the_table() -> None:
    assert known_sizes(make_form("mobilenet", width=0.3)) is None
    assert known_sizes(make_form("resnet20", classes=11)) is None


def test_channels_and_classes_tell_forms_of_one_name_apart() -> None:
    colour = known_sizes(make_form("resnet20"))
    assert colour is not None
    assert (colour.params, colour.macs) == (269_722, 40_551_040)


def test_the_table_is_written_in_one_step(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "sizes.csv"
    forms = (make_form("lenet"), make_form("resnet20", channels=1, classes=7))
    assert write_sizes(path, forms) == 2
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "form": "lenet5",
        "channels": "1",
        "classes": "10",
        "params": "61706",
        "macs": "416520",
        "activation_bytes": "58408",
    }
    # Two input channels less in the stem, three outputs less in the classifier.
    assert int(rows[1]["params"]) == 269_722 - 2 * 16 * 9 - 3 * 65
    assert [entry.name for entry in tmp_path.iterdir()] == ["sizes.csv"]


def test_the_table_has_nothing_else() -> None:
    with SIZES.open(newline="") as file:
        keys = [(row["form"], row["channels"], row["classes"]) for row in csv.DictReader(file)]
    assert keys == [(form.title, str(form.channels), str(form.classes)) for form in known_forms()], HINT
