from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.resultlines import append, dumps, read
from edgecnn.testing.records import made_latencies, made_record

Run = Callable[..., "subprocess.CompletedProcess[str]"]

A, B = made_record(made_latencies(1e6)), made_record(made_latencies(4e6), plan_batch=8, device_cpu=None)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    append(tmp_path / "fleet" / "a.jsonl", [A, B])
    append(tmp_path / "fleet" / "b" / "b.jsonl", [B])
    (tmp_path / "fleet" / "c.jsonl").write_text("hello\n")
    return tmp_path


def test_a_fleet_into_one_file(run_edgecnn: Run, fleet: Path) -> None:
    done = run_edgecnn("results", "import", "fleet", "-o", "all.jsonl")
    assert done.returncode == 0
    assert done.stdout == (
        "all.jsonl: files read: 3, records added: 2, already there: 1, foreign lines passed over: 1\n"
    )
    assert done.stderr.startswith("passed over: fleet/c.jsonl, line 1: not JSON")
    assert list(read(fleet / "all.jsonl")) == [A, B]
    again = run_edgecnn("results", "import", "fleet", "-o", "all.jsonl", "--json", "--quiet")
    assert json.loads(again.stdout) == {"files": 3, "added": 0, "known": 3, "foreign": 1, "newer": 0}
    assert again.stderr == ""


@pytest.mark.usefixtures("fleet")
def test_a_query_as_a_table_and_as_json(run_edgecnn: Run) -> None:
    pytest.importorskip("duckdb")
    sql = "SELECT plan_batch, median, device_cpu FROM records JOIN metrics USING (record) WHERE name = 'latency' ORDER BY 1"
    table = run_edgecnn("results", "query", "--sql", sql, "fleet/a.jsonl")
    assert table.returncode == 0, table.stderr
    lines = [line.split() for line in table.stdout.splitlines()]
    assert ["4", "1e+06", "Cortex-A72"] in lines
    assert ["8", "4e+06", "-"] in lines
    assert lines[-1] == ["2", "rows"]
    done = run_edgecnn("results", "query", "--sql", sql, "fleet", "--json")
    data = json.loads(done.stdout)
    assert [row["plan_batch"] for row in data] == [4, 8, 8]
    assert data[1] == {"plan_batch": 8, "median": pytest.approx(4e6), "device_cpu": None}
    assert "passed over: fleet/c.jsonl, line 1" in done.stderr
    assert (
        "1 record there more than once and counted each time: edgecnn results import keeps one of each" in done.stderr
    )
    assert "more than once" not in table.stderr


@pytest.mark.usefixtures("fleet")
def test_all_columns_at_once_are_not_squeezed(run_edgecnn: Run) -> None:
    pytest.importorskip("duckdb")
    done = run_edgecnn("results", "query", "--sql", "SELECT * FROM records", "fleet/a.jsonl")
    assert done.returncode == 0, done.stderr
    assert "Cortex-A72" in done.stdout
    assert re.search(
        r"a line has [\d,]+ characters, more than 1000: name the columns in the SELECT, or take --json", done.stderr
    )


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("query", "--sql", "DROP TABLE records", "fleet"), 2, "expected one SELECT, got DROP"),
        (("query", "--sql", "SELECT 1", "nothing"), 2, "nothing does not exist"),
        (("query", "--sql", "SELECT 1"), 2, "FILE|DIR"),
        (("import", "fleet", "-o", "model.onnx"), 2, "ends in .jsonl"),
        (("import", "nothing", "-o", "all.jsonl"), 2, "expected a folder"),
    ],
)
def test_bad_input(run_edgecnn: Run, arguments: tuple[str, ...], code: int, text: str) -> None:
    pytest.importorskip("duckdb")
    done = run_edgecnn("results", *arguments)
    assert done.returncode == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_without_duckdb_the_command_that_brings_it_is_said(
    run_edgecnn: Run, fleet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    done = run_edgecnn("results", "query", "--sql", "SELECT 1", str(fleet / "fleet"))
    assert done.returncode == 3
    assert "needs the package duckdb" in done.stderr
    assert "pip install 'edgecnn[query]'" in done.stderr


def test_keys_of_a_newer_version_are_kept_and_said(run_edgecnn: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    newer = json.loads(dumps(A)) | {"carbon_g": 12.5}
    (tmp_path / "fleet" / "r.jsonl").write_text(json.dumps(newer) + "\n")
    done = run_edgecnn("results", "import", "fleet", "-o", "all.jsonl")
    assert (done.returncode, done.stderr) == (
        0,
        "1 record with keys that this edgecnn does not know, kept as they are\n",
    )
    assert json.loads((tmp_path / "all.jsonl").read_text()) == newer
    asked = run_edgecnn("compare", "all.jsonl", "all.jsonl")
    assert asked.stderr.splitlines() == 2 * [
        "all.jsonl: 1 record with keys that this edgecnn does not know, which are not looked at"
    ]
