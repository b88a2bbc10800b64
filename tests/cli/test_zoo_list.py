"""The list of networks: data sets by name, the bundled forms, what a narrow terminal goes without, nothing found."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgecnn.cli.main import run as run_command
from edgecnn.cli.zoo_list import print_list
from edgecnn.zoo import find, networks
from edgecnn.zoo.pages.summary import summarise
from edgecnn.zoo.sizes import known_sizes

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def lines(capsys: Capture, *arguments: str) -> list[str]:
    assert run_command(["zoo", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def loaded(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    rows = json.loads("\n".join(lines(capsys, *arguments, "--json")))["networks"]
    assert isinstance(rows, list)
    return rows


def row(table: list[str], network: str) -> list[str]:
    return next(line.split() for line in table if line.startswith(f"{network} "))


def test_every_accuracy_stands_beside_its_data_set(capsys: Capture) -> None:
    table = lines(capsys, "--family", "ResNet")
    header = next(line for line in table if line.startswith("network"))
    assert "data set" in header and "MNIST %" in header
    assert ["activations,", "Fashion-"] in [line.split() for line in table]
    assert row(table, "resnet50")[8:] == ["76.13", "92.86", "ImageNet", "[1]", "-", "-"]
    assert row(table, "resnet20")[8:] == ["91.25", "-", "CIFAR-10", "[2]", "resnet20", "94.20"]
    assert "Fashion-MNIST %: top-1 of the bundled form, measured through the exported file" in table
    assert "activations, sum: float32 outputs of all layers for one image, added up; no peak" in table


def test_a_bundled_form_of_another_data_set_is_told_apart(capsys: Capture) -> None:
    usual, other = (summarise(find(name)) for name in ("lenet5", "resnet20"))
    print_list([usual, replace(other, bundled_dataset="cifar-10", bundled_top1=0.9)])
    table = capsys.readouterr().out.splitlines()
    assert row(table, "lenet5")[-2:] == ["91.16", "(Fashion-MNIST)"]
    assert row(table, "resnet20")[-2:] == ["90.00", "(CIFAR-10)"]
    assert next(line for line in table if line.startswith("network")).rstrip().endswith("its top-1 %")


def test_json_has_the_sizes_of_both_forms(capsys: Capture) -> None:
    for line in loaded(capsys):
        bundled = find(line["network"]).bundled
        sizes = known_sizes(bundled.form) if bundled else None
        assert line["bundled_params"] == (sizes.params if sizes else None)
        assert line["bundled_macs"] == (sizes.macs if sizes else None)
        assert line["bundled_activation_bytes"] == (sizes.activation_bytes if sizes else None)
        assert line["bundled_input_size"] == (bundled.form.input_size if bundled else None)
        assert line["bundled_channels"] == (bundled.form.channels if bundled else None)


def test_with_trained_everything_is_about_the_bundled_forms(capsys: Capture) -> None:
    rows = loaded(capsys, "--trained", "--sort", "macs")
    macs = [line["bundled_macs"] for line in rows]
    assert macs == sorted(macs) != sorted(macs, reverse=True)
    assert [line["macs"] for line in rows] != sorted(line["macs"] for line in rows)
    small = {line["network"] for line in loaded(capsys, "--trained", "--max-params", "300k")}
    assert {"mobilenet_v1", "googlenet", "lenet5"} <= small
    assert "alexnet" not in small
    table = lines(capsys, "--trained", "--max-macs", "4M")
    assert row(table, "mobilenet_v1")[3:7] == ["mobilenet_v1_0.25_32", "32x32x1", "215,498", "3.2"]
    assert not any("224x224x3" in line for line in table)
    assert any(
        line.startswith("every figure, the order and the limits are those of the bundled form") for line in table
    )


def test_every_network_fits_into_eighty_columns_and_notes_are_about_what_is_shown(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = lines(capsys)
    rule = next(index for index, line in enumerate(table) if line.startswith("───"))
    assert max(map(len, table[: rule + 1 + len(networks())])) <= 80
    notes = table[rule + 1 + len(networks()) :]
    assert notes[0] == "top-1: published, on the data set beside it"
    assert notes[-1].startswith("not shown for lack of width: family; year; input; activations, sum; ")
    beginnings = ("[", "bundled:", "input:", "activations, sum:", "top-1, top-5")
    assert not [note for note in notes if note.startswith(beginnings)]


def test_columns_of_the_environment_are_kept_to_and_nothing_limits_without(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def width(columns: str) -> int:
        monkeypatch.setenv("COLUMNS", columns)
        return max(len(line) for line in lines(capsys, "--family", "VGG") if "──" in line)

    whole = width("")
    assert whole > 130
    assert width("100") <= 100
    assert width("no number") == width("0") == width("1000") == whole


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--max-params", "5"), "no network with at most 5 parameters in the paper's form"),
        (
            ("--family", "vgg", "--trained", "--max-macs", "1k"),
            "no network of family vgg, with trained weights, with at most 1,000 multiply-adds in its bundled form",
        ),
    ],
)
def test_nothing_found_is_said_in_one_line(capsys: Capture, arguments: tuple[str, ...], text: str) -> None:
    assert lines(capsys, *arguments) == [text]
    assert loaded(capsys, *arguments) == []


def test_marks_name_the_paper_of_each_source(capsys: Capture) -> None:
    table = lines(capsys, "--family", "AlexNet", "--family", "ZFNet", "--family", "MobileNet")
    marks = [row(table, name)[11] for name in ("alexnet_grouped", "zfnet")]
    notes = dict(line.split(maxsplit=1) for line in table if line.startswith("["))
    assert [notes[mark] for mark in marks] == ["Krizhevsky et al. 2012, table 2", "Zeiler, Fergus 2013, table 2"]
    assert notes[row(table, "mobilenet_v1")[11]].startswith("tensorflow/models research/slim/nets/mobilenet_v1.md")
