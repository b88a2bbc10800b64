"""`edgecnn zoo` and `edgecnn zoo show`: the same data as table and as JSON, errors as one line and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.cli.main import run as run_command
from edgecnn.zoo import find, networks


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of a command."""
    code = run_command(["zoo", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def loaded(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_list_has_every_network_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    data = loaded(capsys, "--json")
    rows = {row["network"]: row for row in data["networks"]}
    assert list(rows) == [network.name for network in networks()]
    assert data["unavailable"] == {}
    resnet = rows["resnet50"]
    assert (resnet["params"], resnet["macs"], resnet["year"]) == (25_557_032, 4_089_184_256, 2015)
    assert (resnet["top1"], resnet["top5"], resnet["input_size"]) == (0.7613, 0.92862, 224)
    assert (rows["lenet5"]["params"], rows["lenet5"]["macs"], rows["lenet5"]["top1"]) == (61_706, 416_520, None)
    for name, row in rows.items():
        bundled = find(name).bundled
        assert row["bundled"] == (bundled.form.title if bundled else None)
        assert row["bundled_top1"] == (bundled.top1 if bundled else None)


def test_the_table_has_a_line_per_network(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out.startswith("zoo")
    rows = [line for line in out.splitlines() if any(f" {network.paper.year} " in line for network in networks())]
    assert len(rows) == len(networks())
    assert "69.76" in out


def test_a_page_has_facts_published_numbers_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "resnet50")
    assert code == 0
    facts = dict(line.split(maxsplit=1) for line in out.split("\n\n")[0].splitlines()[1:])
    assert facts["parameters"] == "25,557,032"
    assert facts["MACs"].startswith("4,089,184,256 ")
    assert "stride_in (3x3 or 1x1; 3x3 in the plain form)" in facts["options"]
    assert "He et al." in facts["paper"]
    assert "Apache-2.0" in facts["code"]
    assert "resnet50_1x1" in out


def test_a_page_as_json_has_sources(capsys: pytest.CaptureFixture[str]) -> None:
    page = loaded(capsys, "show", "mobilenet", "--json")
    assert page["network"] == "mobilenet_v1"
    assert page["aliases"] == ["mobilenet"]
    assert page["layers"] is None
    assert len(page["published"]) == 16
    first = page["published"][0]
    assert (first["params"], first["macs"], first["top1"]) == (4_231_976, 568_740_000, 0.709)
    assert first["protocol"] == "single crop, TF-slim release 2018_02_22"
    assert "mobilenet_v1.md" in first["accuracy_source"]
    assert page["preprocess"]["mean"] == [0.485, 0.456, 0.406]


def test_options_choose_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    page = loaded(capsys, "show", "resnet50", "-O", "stride_in=1x1", "--json")
    assert (page["variant"], page["sizes"]["macs"]) == ("resnet50_1x1", 3_857_973_248)
    page = loaded(capsys, "show", "mobilenet", "--width", "0.25", "--input-size", "160", "--json")
    assert (page["variant"], page["sizes"]["macs"]) == ("mobilenet_v1_0.25_160", 21_059_200)


def test_layers_sum_up_to_the_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    page = loaded(capsys, "show", "resnet50", "--layers", "--classes", "10", "--json")
    layers = page["layers"]
    assert sum(layer["params"] for layer in layers) == page["sizes"]["params"] == 25_557_032 - 990 * 2049
    assert sum(layer["macs"] for layer in layers) == page["sizes"]["macs"] == 4_089_184_256 - 990 * 2048
    assert (layers[0]["name"], layers[0]["kernel"], layers[0]["stride"]) == ("conv1", [7, 7], [2, 2])
    assert layers[-1]["output_shape"] == [10]


def test_the_layer_table_ends_with_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    code, out, _ = run(capsys, "show", "lenet", "--layers")
    assert code == 0
    table = out.partition("layers of lenet5")[2]
    assert "total" in table
    assert table.count(" conv ") == 2


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("show", "mobilnet"), "unknown network 'mobilnet'", "did you mean mobilenet?"),
        (("show", "resnet50", "--width", "2"), "resnet50 has no width to choose", "mobilenet_v1"),
        (("show", "mobilenet", "--width", "0"), "width: expected a number at least 0.03125, got 0.0", ""),
        (("show", "lenet", "--input-size", "28"), "input size of lenet5: expected 32 pixels, got 28", ""),
        (("show", "resnet50", "-O", "stride_in"), "--option: expected NAME=VALUE", ""),
        (("show", "mobilenet", "--width", "0.5", "-O", "width=1"), "--option width=1", "give --width once"),
        (("show", "mobilenet", "-O", "input-size=32"), "--option input-size=32", "give --input-size once"),
        (("show", "resnet50", "-O", "network=32"), "unknown option of resnet50 'network'", "stride_in"),
        (("--json", "show", "lenet"), "--json", "edgecnn zoo show NET --json"),
    ],
)
def test_a_wrong_request_is_one_line_a_hint_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str, hint: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}")
    assert hint in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("--help",), ("show", "--help")])
def test_help_has_examples_that_run(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    pytest.importorskip("torch")
    _, out, _ = run(capsys, *arguments)
    examples = [
        line.strip().removeprefix("edgecnn zoo").split() for line in out.partition("Example:")[2].splitlines()[1:]
    ]
    assert len(examples) == 3
    for example in examples:
        assert run(capsys, *example)[0] == 0


def test_networks_that_cannot_be_had_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[edgecnn.networks]\nbrokennet = not_there_at_all:NETWORK\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "not_there_at_all" in loaded(capsys, "--json")["unavailable"]["brokennet"]
    assert "unavailable: brokennet: " in run(capsys)[1]
    code, _, err = run(capsys, "show", "brokennet")
    assert (code, "not_there_at_all" in err) == (4, True)


def test_without_torch_everything_but_new_forms_and_layers_works() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgecnn.cli.main import run as run_command\n"
        "def run(*arguments): print('exit', run_command(['zoo', *arguments]), file=sys.stderr)\n"
        "run(); run('show', 'resnet50'); run('show', 'resnet50', '--layers'); run('show', 'mobilenet', '--width', '0.3')\n"
    )
    root = str(Path(edgecnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    )
    assert done.stderr.splitlines() == [
        "exit 0",
        "exit 0",
        "error: the layers of resnet50 needs the package torch",
        "hint: pip install 'edgecnn[export]'",
        "exit 3",
        "error: the layers of mobilenet_v1_0.3_224 needs the package torch",
        "hint: pip install 'edgecnn[export]'",
        "exit 3",
    ]
