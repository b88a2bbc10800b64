"""`edgecnn bench`: several models in turn, verdicts as errors, and what else can be asked for."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from edgecnn.bench import Progress, make_plan
from edgecnn.bench.progress import Standing
from edgecnn.cli.bench_more import scenario_text
from edgecnn.cli.live import drawing
from edgecnn.cli.options import Latency, Span, check_threads
from edgecnn.errors import BadInput
from edgecnn.resultlines import read
from edgecnn.results import ScenarioFigures
from edgecnn.testing.fakes import write_tree
from edgecnn.testing.models import TINY, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ("--seconds", "0.1", "--runs", "10", "--threads", "1")


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    shutil.copy(TINY, tmp_path / "a.onnx")
    shutil.copy(TINY_INT8, tmp_path / "b.onnx")
    return "a.onnx", "b.onnx"


@pytest.mark.slow
def test_several_models_are_one_group_with_memory_phases_and_power_null(
    run_edgecnn: Run, tmp_path: Path, models: tuple[str, str]
) -> None:
    pytest.importorskip("onnxruntime")
    done = run_edgecnn("bench", *models, *QUICK, "--batch", "1,2", "--json")
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [(one["subject"]["file"], one["plan"]["batch"]) for one in records] == [
        ("a.onnx", 1),
        ("a.onnx", 2),
        ("b.onnx", 1),
        ("b.onnx", 2),
    ]
    assert len({one["provenance"]["group"] for one in records}) == 1
    for one in records:
        names = {metric["name"] for metric in one["metrics"]}
        assert {"memory_baseline", "memory_load", "memory_first_run", "memory_steady", "memory_peak"} <= names
        assert one["metrics"][0]["blocks"]
        assert one["power"]["power_w"] is None
        assert one["power"]["reason"]
        assert one["footprint"]["weights_bytes"] > 0
    assert len(list(read(tmp_path / "results.jsonl"))) == 4


@pytest.mark.slow
def test_strict_makes_a_doubt_an_error(run_edgecnn: Run, models: tuple[str, str], tmp_path: Path) -> None:
    """Sampling of 0.05 s is too short to be valid on any machine."""
    words = ("bench", models[0], "--backend", "null", "--seconds", "0.05")
    assert run_edgecnn(*words).returncode == 0
    done = run_edgecnn(*words, "--strict")
    assert done.returncode == 7
    assert "1 of 1 measurements are not valid; a.onnx, batch 1, is " in done.stderr
    assert len(list(read(tmp_path / "results.jsonl"))) == 2  # what was measured is kept all the same


@pytest.mark.slow
def test_copies_and_preprocessing_are_a_line_of_their_own(
    run_edgecnn: Run, tmp_path: Path, models: tuple[str, str]
) -> None:
    pytest.importorskip("onnxruntime")
    done = run_edgecnn("bench", models[0], *QUICK, "--include", "copy")
    assert done.returncode == 0, done.stderr
    assert "from images to labels" in done.stdout
    # Sampling of 0.1 s is too short for either: what is said of one row alone has its name.
    assert "all 2:" in done.stdout or "a.onnx, batch 1, from images to labels:" in done.stdout
    bare, whole = read(tmp_path / "results.jsonl")
    assert (bare.plan.timed, whole.plan.timed) == ("run", "app")
    assert whole.metrics[0].median > bare.metrics[0].median


@pytest.mark.slow
def test_a_sustained_run_shows_both_ends(run_edgecnn: Run, models: tuple[str, str]) -> None:
    done = run_edgecnn("bench", models[0], "--backend", "null", "--sustain", "1s")
    assert done.returncode == 0, done.stderr
    assert "sustained for 1.00 s" in done.stdout
    assert "first tenth" in done.stdout
    assert "last tenth" in done.stdout


def test_a_scenario_is_called_what_it_is(run_edgecnn: Run, models: tuple[str, str]) -> None:
    done = run_edgecnn(
        "bench", models[0], "--backend", "null", "--seconds", "0.2", "--scenario", "server", "--qps", "100"
    )
    assert done.returncode == 0, done.stderr
    assert "MLPerf-style server: " in done.stdout
    assert "the rules ask for 600 s" in done.stdout


@pytest.mark.slow
def test_another_load_generator_is_named_with_its_judgement(run_edgecnn: Run, models: tuple[str, str]) -> None:
    pytest.importorskip("mlperf_loadgen")
    words = ("--backend", "null", "--seconds", "0.2", "--scenario", "server", "--qps", "100")
    done = run_edgecnn("bench", models[0], *words, "--load-generator", "mlcommons")
    assert done.returncode == 0, done.stderr
    said = re.search(r"MLPerf-style server by mlcommons loadgen [\d.]+: .* invalid by its rules", done.stdout)
    assert said, done.stdout
    assert "too few queries to be sure (early stopping)" in done.stdout


@pytest.mark.slow
def test_a_load_generator_that_is_missing_is_said_before_anything_is_made(tmp_path: Path) -> None:
    code = "import sys; sys.modules['mlperf_loadgen'] = None\nfrom edgecnn.cli.entry import main\nmain()"
    words = ("bench", "--scenario", "offline", "--load-generator", "mlcommons")
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr == (
        "error: --load-generator mlcommons needs the package mlcommons-loadgen\nhint: pip install 'edgecnn[loadgen]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_how_far_offline_was_from_its_seconds_is_in_the_line() -> None:
    figures = ScenarioFigures(
        title="MLPerf-style offline",
        samples_per_second=1000.0,
        percent=None,
        tail_ns=None,
        queries=1,
        queries_needed=None,
        seconds=3.1,
    )
    plan = make_plan(scenario="offline", seconds=2)
    text = "MLPerf-style offline: 1,000.0 samples/s over 3.10 s (55% longer than asked for), 1 query"
    assert scenario_text(figures, plan) == text
    assert "over 2.10 s, 1 query" in scenario_text(replace(figures, seconds=2.1), plan)
    # Of a version that did not tell it.
    assert scenario_text(replace(figures, seconds=None), plan) == "MLPerf-style offline: 1,000.0 samples/s, 1 query"


@pytest.mark.slow
def test_a_rate_that_is_not_held_ends_in_time_and_is_said(run_edgecnn: Run, models: tuple[str, str]) -> None:
    words = ("--backend", "null", "--seconds", "0.2", "--scenario", "server", "--qps", "1000000000")
    done = run_edgecnn("bench", models[0], *words)
    assert done.returncode == 0, done.stderr
    assert "99th percentile unknown, see below, 1000000000 queries/s: not held" in done.stdout
    assert "overload: " in done.stdout


@pytest.mark.slow
def test_a_query_of_several_images_says_so(run_edgecnn: Run, models: tuple[str, str]) -> None:
    words = ("--backend", "null", "--seconds", "0.1", "--scenario", "multi-stream")
    assert " queries of 8 images each" in run_edgecnn("bench", models[0], *words).stdout


@pytest.mark.slow
def test_a_server_says_whether_its_queries_come_within_the_bound(run_edgecnn: Run, models: tuple[str, str]) -> None:
    words = ("--backend", "null", "--seconds", "1", "--scenario", "server", "--qps", "1000")
    far = run_edgecnn("bench", models[0], *words, "--latency-bound", "10s", "--json")
    assert far.returncode == 0, far.stderr
    (record,) = json.loads(far.stdout)
    assert record["plan"]["latency_bound_ns"] == 10e9
    assert (record["scenario"]["over_bound"], record["scenario"]["bound_held"]) == (0, True)
    near = run_edgecnn("bench", models[0], *words, "--latency-bound", "1ns").stdout
    assert "1000 queries/s within 1.00 ns: not held" in near
    assert "ask for fewer queries per second" in near


@pytest.mark.slow
def test_memory_beside_its_estimate(run_edgecnn: Run, models: tuple[str, str]) -> None:
    pytest.importorskip("onnxruntime")
    done = run_edgecnn("bench", models[0], *QUICK, "--memory")
    assert done.returncode == 0, done.stderr
    assert "weights est." in done.stdout
    assert "run est." in done.stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--scenario", "serve"), "serve"),
        (("--scenario", "server"), "qps"),
        (("--qps", "5"), "qps"),
        (("--load-generator", "own"), "--load-generator needs a load pattern"),
        (("--scenario", "offline", "--load-generator", "loadrunner"), "loadrunner"),
        (("--latency-bound", "5ms"), "latency bound"),
        (("--scenario", "server", "--qps", "5", "--latency-bound", "5"), "20ms or 500us"),
        (("--power", "rappl"), "did you mean rapl"),
        (("--sustain", "soon"), "20s, 10m or 1h"),
        (("--seconds", "soon"), "20s, 10m or 1h"),
        (("--threads", "100000"), "threads: expected at most 4 for each processor, got 100000"),
        (("--power", "csv:nofile.csv"), "csv meter: expected a file that exists, got nofile.csv"),
        (("--sustain", "1s", "--scenario", "offline"), "exclude each other"),
        (("--include", "everything"), "everything"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    run_edgecnn: Run, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    done = run_edgecnn("bench", *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "ns"), [("20ms", 20e6), ("500us", 5e5), (" 1.5 s ", 1.5e9), (".5ns", 0.5)])
def test_a_latency(text: str, ns: float) -> None:
    assert Latency().convert(text, None, None) == pytest.approx(ns)


@pytest.mark.parametrize("text", ["", "5", "0ms", "-1ms", "1m", "nanms", "1 h", "1e3ms"])
def test_no_latency(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Latency().convert(text, None, None)


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("10m", 600), ("1h", 3600), ("1.5", 1.5), ("500ms", 0.5)])
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert Span().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "-1m", "inf", "nan", "10d", "1hm", "5ss"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(text, None, None)


def test_a_results_file_that_cannot_be_written_is_said_before_anything_is_measured(
    run_edgecnn: Run, tmp_path: Path, models: tuple[str, str]
) -> None:
    (tmp_path / "r.jsonl").mkdir()
    done = run_edgecnn("bench", models[0], "--backend", "null", "-o", "r.jsonl")
    assert done.returncode == 8
    assert "r.jsonl: cannot be written" in done.stderr
    assert "measuring" not in done.stderr


def test_a_batch_beyond_memory_is_refused_before_it_is_made(run_edgecnn: Run, models: tuple[str, str]) -> None:
    done = run_edgecnn("bench", models[0], "--backend", "null", "--batch", "1000000000000")
    assert done.returncode == 2
    assert "batch: expected inputs of at most" in done.stderr
    assert "fits at most" in done.stderr


def test_more_threads_than_processors_are_warned_of(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"})
    check_threads(None, root)
    check_threads(1, root)
    assert capsys.readouterr().err == ""
    check_threads(3, root)
    assert capsys.readouterr().err.startswith("3 threads on 1 processor take each other's time: --threads 1")
    with pytest.raises(BadInput, match="expected at most 4 for each processor, got 5"):
        check_threads(5, root)


@pytest.mark.slow
def test_a_narrow_table_leaves_columns_out_and_says_which(
    run_edgecnn: Run, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    done = run_edgecnn("bench", models[0], "--backend", "null", "--seconds", "50ms")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("model", "tiny"))]
    assert rows
    assert max(map(len, rows)) <= 60
    assert "not shown for lack of width: input" in done.stdout
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]


@pytest.mark.slow
def test_offline_has_no_latency_and_a_rate_of_its_own(run_edgecnn: Run, models: tuple[str, str]) -> None:
    done = run_edgecnn("bench", models[0], "--backend", "null", "--seconds", "0.1", "--scenario", "offline")
    assert done.returncode == 0, done.stderr
    head, row = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines() if line.startswith(("model", "tiny"))]
    assert row[head.index("median")] == row[head.index("p90")] == "-"
    assert ", 1 query\n" in done.stdout
    assert "images/s of a scenario: all its images over all its time" in done.stdout
    assert "images/s: batch over median" not in done.stdout


@pytest.mark.slow
def test_what_is_true_of_all_is_said_once(run_edgecnn: Run, models: tuple[str, str]) -> None:
    done = run_edgecnn("bench", *models, "--backend", "null", "--seconds", "50ms")
    assert done.returncode == 0, done.stderr
    assert sum("computed nothing" in line or "null" in line for line in done.stdout.splitlines()) <= 3
    assert "all 2" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs a signal that comes by itself")
def test_ctrl_c_shows_what_was_measured_and_where_it_is(
    run_edgecnn: Run, tmp_path: Path, models: tuple[str, str]
) -> None:
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(8)
    try:
        done = run_edgecnn("bench", models[0], "--backend", "null", "--sustain", "60s", "-o", "int.jsonl")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    assert done.returncode == 130
    assert "edgecnn bench" in done.stdout
    assert "1 record (interrupted) appended to int.jsonl" in done.stderr
    assert len(list(read(tmp_path / "int.jsonl"))) == 1


def test_ctrl_c_before_anything_was_measured_says_so(
    run_edgecnn: Run, tmp_path: Path, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    @contextmanager
    def stopping(text: str) -> Iterator[Callable[[Progress], None]]:
        yield stop

    monkeypatch.setattr("edgecnn.cli.bench.live_progress", stopping)
    done = run_edgecnn("bench", models[0], "--backend", "null", "--batch", "1,2", "--json")
    assert done.returncode == 130
    name = Path(models[0]).name
    assert list(filter(None, done.stderr.splitlines())) == [
        f"{name}, batch 1: not measured: interrupted before its first block of timed runs had ended",
        f"{name}, batch 2: not measured: interrupted before its first block of timed runs had ended",
        "0 records appended to results.jsonl",
        "error: interrupted; nothing half-written is left behind",
    ]
    assert [one["status"] for one in json.loads(done.stdout)] == ["skipped", "skipped"]
    assert not list(tmp_path.glob("*.jsonl"))


def _drawn(**changes: Any) -> str:
    progress = Progress(
        elapsed_seconds=3.2,
        expected_seconds=4,
        done=7,
        total=20,
        standings=(
            Standing(file="a.onnx", batch=1, state="measuring", runs=1234, median_ns=2.5e6),
            Standing(file="b.onnx", batch=4, state="failed", runs=0, median_ns=None, reason="no"),
        ),
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(drawing("measuring", progress))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_while_measuring() -> None:
    drawn = _drawn()
    assert "measuring: 3 s, 7 of 20 blocks" in drawn
    assert "1,234" in drawn
    assert "2.50 ms" in drawn
    assert "failed" in drawn
