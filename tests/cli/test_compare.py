from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgecnn.artifacts import file_sha256
from edgecnn.resultlines import append
from edgecnn.results import Quality, Reason
from edgecnn.testing.models import TINY, TINY_INT8
from edgecnn.testing.records import made_latencies, made_record

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    append(tmp_path / "old.jsonl", [made_record(made_latencies(1e6)), made_record(plan_batch=8)])
    append(tmp_path / "new.jsonl", [made_record(made_latencies(1.1e6, seed=1)), made_record(plan_batch=8)])
    return tmp_path


@pytest.mark.usefixtures("files")
def test_a_table_with_a_verdict_per_row(run_edgecnn: Run) -> None:
    done = run_edgecnn("compare", "old.jsonl", "new.jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    latencies = [line for line in done.stdout.splitlines() if " latency " in line]
    assert ["+10.0%" in line and "slower" in line for line in latencies] == [True, False]
    assert "same" in latencies[1]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("limits", "code"), [("latency>3%", 9), ("latency>11%,memory>5%,top1<0.3", 0)])
def test_a_crossed_limit_has_an_exit_code_of_its_own(run_edgecnn: Run, limits: str, code: int) -> None:
    done = run_edgecnn("compare", "old.jsonl", "new.jsonl", "--fail-if", limits)
    assert done.returncode == code
    assert "slower" in done.stdout
    if code:
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert line.startswith("error: 1 limit crossed: latency>3%: mobilenet_v1_0.25_32 int8 batch 4 on cpu")
        assert "10.0% slower (95% interval +" in line


@pytest.mark.usefixtures("files")
def test_a_narrow_table_says_what_it_goes_without(run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    lines = run_edgecnn("compare", "old.jsonl", "new.jsonl").stdout.splitlines()
    assert lines[-1] == "not shown for lack of width: old; new; 95% interval"
    assert max(map(len, lines)) <= 90
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.usefixtures("files")
def test_limits_that_are_given_again_all_count(run_edgecnn: Run) -> None:
    once = ("compare", "old.jsonl", "new.jsonl", "--fail-if", "latency>3%")
    assert run_edgecnn(*once, "--fail-if", "memory>300%").returncode == 9
    twice = run_edgecnn(*once, "--fail-if", "latency>300%")
    assert twice.returncode == 2
    assert "two limits for latency: latency>3% and latency>300%" in twice.stderr


def test_the_error_line_stays_short(run_edgecnn: Run, tmp_path: Path) -> None:
    reason = Reason(code="fallback", severity="invalid", message="busy " * 100)
    bad = Quality(verdict="invalid", reasons=(reason,))
    batches = range(1, 6)
    append(tmp_path / "a.jsonl", [made_record(plan_batch=batch) for batch in batches])
    append(tmp_path / "b.jsonl", [replace(made_record(plan_batch=batch), quality=bad) for batch in batches])
    done = run_edgecnn("compare", "a.jsonl", "b.jsonl", "--fail-if", "latency>3%,memory>3%,top1<1")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: 2 limits crossed: latency>3%, memory>3%: mobilenet")
    assert line.endswith("; and 2 more, see the table")
    assert len(line) < 700
    assert "busy " * 100 in done.stdout


def test_files_are_written_also_where_a_limit_is_crossed(run_edgecnn: Run, files: Path) -> None:
    done = run_edgecnn(
        *("compare", "old.jsonl", "new.jsonl", "--fail-if", "latency>3%", "--json"),
        *("--markdown", "out/summary.md", "--junit", "out/junit.xml"),
    )
    assert done.returncode == 9
    data = json.loads(done.stdout)
    assert [row["verdict"] for row in data["rows"] if row["quantity"] == "latency"] == ["slower", "same"]
    assert [one["gate"] for one in data["violations"]] == ["latency>3%"]
    assert "**1 limit crossed**" in (files / "out" / "summary.md").read_text()
    assert ElementTree.parse(files / "out" / "junit.xml").getroot().get("failures") == "1"
    assert sorted(path.name for path in (files / "out").iterdir()) == ["junit.xml", "summary.md"]


def test_folders_and_foreign_lines(run_edgecnn: Run, files: Path) -> None:
    append(files / "new" / "pi" / "r.jsonl", [made_record(made_latencies(1e6, seed=1)), made_record(plan_batch=8)])
    with (files / "new" / "pi" / "r.jsonl").open("a") as file:
        file.write("hello\n")
    done = run_edgecnn("compare", "old.jsonl", "new", "--fail-if", "latency>3%")
    assert done.returncode == 0
    assert done.stderr == "passed over: new/pi/r.jsonl, line 3: not JSON: Expecting value: line 1 column 1 (char 0)\n"


def test_files_without_a_record_are_no_results(run_edgecnn: Run, files: Path) -> None:
    (files / "notes.txt").write_text("hello\n")
    (files / "empty.jsonl").touch()
    for pair in (("notes.txt", "old.jsonl"), ("old.jsonl", "empty.jsonl")):
        done = run_edgecnn("compare", *pair)
        assert done.returncode == 8
        assert "has no record" in done.stderr


def test_fields_that_may_differ(run_edgecnn: Run, files: Path) -> None:
    append(files / "other.jsonl", [made_record(runtime_engine_version="9"), made_record(plan_batch=8)])
    plain = run_edgecnn("compare", "old.jsonl", "other.jsonl")
    assert "runtime.engine_version: 1.23.2 against 9" in plain.stdout
    assert "--across runtime.engine_version" in plain.stdout
    done = run_edgecnn("compare", "old.jsonl", "other.jsonl", "--across", "runtime.engine_version, device.kernel")
    assert "not comparable" not in done.stdout


def test_two_models_of_one_results_file(run_edgecnn: Run, tmp_path: Path) -> None:
    """As `edgecnn bench old/net.onnx new/net.onnx` leaves it: one file, both under one name, told apart by content."""
    shas = []
    for folder, source in (("old", TINY), ("new", TINY_INT8)):
        path = tmp_path / folder / "net.onnx"
        path.parent.mkdir()
        shutil.copy(source, path)
        shas.append(file_sha256(path))
    records = [
        made_record(made_latencies(1e6 * factor), subject_sha256=sha, subject_file="net.onnx")
        for factor, sha in zip((1.0, 1.2), shas, strict=True)
    ]
    append(tmp_path / "r.jsonl", [*records, made_record(subject_sha256="else")])
    done = run_edgecnn("compare", "r.jsonl", "r.jsonl", "--models", "old/net.onnx", "new/net.onnx", "--json")
    rows = [row for row in json.loads(done.stdout)["rows"] if row["quantity"] == "latency"]
    assert [(row["verdict"], row["ratio"]) for row in rows] == [("slower", pytest.approx(1.2))]
    append(tmp_path / "none.jsonl", [made_record()])
    none = run_edgecnn("compare", "r.jsonl", "none.jsonl", "--models", "old/net.onnx", "new/net.onnx")
    assert (none.returncode, none.stdout) == (2, "")
    assert "none.jsonl has no record of new/net.onnx" in none.stderr


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_page_that_cannot_be_written_names_its_own_option(run_edgecnn: Run, option: str) -> None:
    done = run_edgecnn("compare", "old.jsonl", "new.jsonl", option, ".")
    assert done.returncode == 4
    assert f"choose another place with {option}" in done.stderr


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("nothing.jsonl", "new.jsonl"), 2, "nothing.jsonl does not exist"),
        (("old.jsonl", "new.jsonl", "--fail-if", "latency"), 2, "expected limits such as"),
        (("old.jsonl", "new.jsonl", "--fail-if", "energy>3%"), 9, "nothing to judge: no record says anything about"),
        (("old.jsonl", "new.jsonl", "--across", "device.gpus"), 2, "did you mean device.gpu"),
    ],
)
def test_bad_input(run_edgecnn: Run, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = run_edgecnn("compare", *arguments)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_subject_that_no_limit_could_judge_is_said_and_changes_no_exit_code(run_edgecnn: Run, tmp_path: Path) -> None:
    invalid = Quality(verdict="invalid", reasons=(Reason(code="load", severity="invalid", message="busy"),))
    for name in ("old", "new"):
        noisy = replace(made_record(plan_batch=8), quality=invalid)
        append(tmp_path / f"{name}.jsonl", [made_record(), noisy])
    done = run_edgecnn(
        "compare",
        "old.jsonl",
        "new.jsonl",
        "--fail-if",
        "latency>3%",
        "--json",
        "--junit",
        "j.xml",
        "--markdown",
        "m.md",
    )
    title = "mobilenet_v1_0.25_32 int8 batch 8 on cpu, 4 threads"
    why = "old: invalid measurement (busy); new: invalid measurement (busy)"
    assert (done.returncode, done.stderr.splitlines()) == (0, [f"not judged by latency>3%: {title}: {why}"])
    told = json.loads(done.stdout)
    assert [(one["title"], one["message"]) for one in told["unjudged"]] == [(title, why)]
    assert "**1 subject skipped**" in (tmp_path / "m.md").read_text()
    assert "not judged by latency&gt;3%" in (tmp_path / "j.xml").read_text()
