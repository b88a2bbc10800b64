"""`edgecnn zoo` and `edgecnn zoo show`: the same data as table and as JSON, errors as one line and an exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.cli.main import run as run_command
from edgecnn.cli.zoo import Count
from edgecnn.zoo import find, networks


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


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
    assert "76.13" in out


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


@pytest.mark.slow
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
        (("show", "transformer"), "unknown network 'transformer'", "hint: edgecnn zoo lists them\n"),
        (("show", "resnext"), "unknown network 'resnext'", "resnext29; edgecnn zoo --family ResNeXt shows it"),
        (("resnet50",), "edgecnn zoo lists all networks and takes no name", "hint: edgecnn zoo show resnet50\n"),
        (("resnt50",), "unknown network 'resnt50'", "did you mean resnet50?"),
        (("shwo", "resnet50"), "unknown command of edgecnn zoo 'shwo'", "did you mean show?"),
        (("show", "resnet50", "--width", "2"), "resnet50 has no width to choose", "mobilenet_v1"),
        (("show", "mobilenet", "--width", "0"), "width: expected a number at least 0.03125, got 0.0", ""),
        (("show", "lenet", "--input-size", "28"), "input size of lenet5: expected 32 pixels, got 28", ""),
        (("show", "resnet50", "-O", "stride_in"), "--option: expected NAME=VALUE", ""),
        (("show", "mobilenet", "--width", "0.5", "-O", "width=1"), "--option width=1", "give --width once"),
        (("show", "mobilenet", "-O", "input-size=32"), "--option input-size=32", "give --input-size once"),
        (("show", "resnet50", "-O", "network=32"), "unknown option of resnet50 'network'", "stride_in"),
        (("--json", "show", "lenet"), "--json", "edgecnn zoo show NET --json"),
        (("--family", "resnt"), "unknown family 'resnt'", "did you mean ResNet?"),
        (("--max-params", "5X"), "Invalid value for '--max-params': expected a number such as", ""),
        (("--max-params", "-5"), "Invalid value for '--max-params': expected a number such as", ""),
        (("--sort", "size"), "Invalid value for '--sort'", ""),
        (("--trained", "show", "lenet"), "--trained belongs to the list and not to show", ""),
        (("--family", "VGG", "show", "lenet"), "--family belongs to the list and not to show", ""),
        (("show", "lenet", "-o", "x.svg"), "--output is the file of --graph", "add --graph"),
        (
            ("show", "lenet", "--graph", "-o", "x.png"),
            "--output: expected a file name that ends in .svg, got x.png",
            "",
        ),
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


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--help",), ("show", "--help")])
def test_help_has_examples_that_run(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, *arguments)
    examples = [
        line.strip().removeprefix("edgecnn zoo").split() for line in out.partition("Example:")[2].splitlines()[1:]
    ]
    assert len(examples) == 4
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


@pytest.mark.slow
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


def test_the_list_is_filtered_and_sorted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = loaded(capsys, "--family", "resnet", "--max-params", "22M", "--sort", "macs", "--json")["networks"]
    assert {row["family"] for row in rows} == {"ResNet"}
    assert max(row["params"] for row in rows) == 21_797_672
    macs = [row["macs"] for row in rows]
    assert macs == sorted(macs)
    assert [row["network"] for row in rows[-2:]] == ["resnet18", "resnet34"]


@pytest.mark.parametrize(("text", "number"), [("5M", 5_000_000), ("500k", 500_000), ("61706", 61_706), ("1.5G", 1.5e9)])
def test_counts_take_a_suffix(text: str, number: int) -> None:
    assert Count().convert(text, None, None) == number


@pytest.mark.slow
def test_layers_come_with_stages_family_and_what_surveys_say(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    code, out, _ = run(capsys, "show", "resnet18", "--layers")
    assert code == 0
    titles = ("stages of resnet18", "layers of resnet18", "ResNet by depth", "what surveys say")
    assert sorted(titles, key=lambda title: out.index(f"\n\n{title}\n")) == list(titles)
    family = out.partition("ResNet by depth")[2]
    row = next(line.split() for line in family.splitlines() if line.startswith("conv4_x"))
    assert row[1:] == ["14x14", "2", "blocks", "6", "blocks", "6", "blocks", "23", "blocks", "36", "blocks"]
    assert "1.8 x 10^9 FLOPs" in out and "1,814,073,344" in out


def test_alexnet_walks_from_the_image_to_the_classes(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    _, out, _ = run(capsys, "show", "alexnet_grouped", "--layers")
    table = out.partition("layers of alexnet_grouped")[2].partition("what surveys say")[0]
    sizes = re.findall(r" (\d+(?:x\d+x\d+)?)  +[\d,]+  +[\d,]+  +[\d,]+  +[\d.]+ [kM]?B", table)
    assert sizes == [
        *("227x227x3", "55x55x96", "55x55x96", "27x27x96", "27x27x256", "27x27x256", "13x13x256"),
        *("13x13x384", "13x13x384", "13x13x256", "6x6x256", "4096", "4096", "1000"),
    ]


def test_vgg16_has_its_memory_table(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    _, out, _ = run(capsys, "show", "vgg16", "--layers")
    lines = out.splitlines()
    assert "138,357,544" in next(line for line in lines if line.startswith("total"))
    assert "15,237,608" in next(line for line in lines if line.startswith("with the input"))
    assert "24 M values x 4 B = 96 MB" in out


def test_a_narrow_page_has_fewer_columns_of_stages_and_layers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, "show", "alexnet_grouped", "--layers")
    stages, _, layers = out.partition("stages of")[2].partition("what surveys say")[0].partition("layers of")
    for table in (stages, layers):
        assert max(len(line) for line in table.splitlines() if "──" in line) <= 80
        assert "not shown for lack of width: " in table
    assert layers.rstrip().endswith("not shown for lack of width: kernel; stride; groups; values; activation")
    assert "activation:" not in layers
    assert "60,965,224" in layers and "724,406,816" in layers


def test_sizes_that_no_source_states_are_counted_and_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "shufflenet_v1")
    row = next(line.split() for line in out.splitlines() if line.startswith("shufflenet_v1_0.5_224_g2"))
    assert row[1:4] == ["643,932", "38.6", "55.60"]
    note = next(line for line in out.splitlines() if line.startswith("counted here where no source states it: "))
    assert "shufflenet_v1_0.5_224_g2" in note and "shufflenet_v1_0.5_224_g1" not in note


def test_a_page_names_papers_once_and_says_why_figures_differ(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "alexnet_grouped")
    assert 'Neural Networks", NIPS 2012\n' in out
    assert "; Krizhevsky et al. 2012, table 2" in out
    assert "paper Table" not in out and "derived" not in out
    assert "added up; no peak" in out
    _, out, _ = run(capsys, "show", "googlenet")
    whys = {line.split("  ")[0]: line.rstrip() for line in out.partition("what surveys say")[2].splitlines()}
    assert whys["MACs"].endswith("not explained")


def test_a_graph_is_written_where_it_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "show", "resnet50", "-O", "stride_in=1x1", "--graph")
    assert (code, out.splitlines()[-1]) == (0, "graph: resnet50_1x1.svg")
    assert (tmp_path / "resnet50_1x1.svg").read_text(encoding="utf-8").startswith("<svg ")
    page = loaded(capsys, "show", "lenet", "--graph", "-o", "pictures/lenet.svg", "--json")
    assert page["graph"] == str(Path("pictures/lenet.svg"))
    assert (tmp_path / "pictures" / "lenet.svg").is_file()
    assert loaded(capsys, "show", "lenet", "--json")["graph"] is None
