"""`edgecnn bench`: several models in turn, verdicts as errors, and what else can be asked for."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from edgecnn.bench import Progress
from edgecnn.bench.interleave import Standing
from edgecnn.cli.live import drawing
from edgecnn.cli.options import Span
from edgecnn.results import read
from edgecnn.testing.models import TINY, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ("--seconds", "0.1", "--runs", "10", "--threads", "1")


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    shutil.copy(TINY, tmp_path / "a.onnx")
    shutil.copy(TINY_INT8, tmp_path / "b.onnx")
    return "a.onnx", "b.onnx"


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


def test_strict_makes_a_doubt_an_error(run_edgecnn: Run, models: tuple[str, str], tmp_path: Path) -> None:
    """Sampling of 0.05 s is too short to be valid on any machine."""
    words = ("bench", models[0], "--backend", "null", "--seconds", "0.05")
    assert run_edgecnn(*words).returncode == 0
    done = run_edgecnn(*words, "--strict")
    assert done.returncode == 7
    assert "1 of 1 measurements are not valid; a.onnx, batch 1, is " in done.stderr
    assert len(list(read(tmp_path / "results.jsonl"))) == 2  # what was measured is kept all the same


def test_copies_and_preprocessing_are_a_line_of_their_own(run_edgecnn: Run, models: tuple[str, str]) -> None:
    pytest.importorskip("onnxruntime")
    done = run_edgecnn("bench", models[0], *QUICK, "--include", "copy", "--json")
    assert done.returncode == 0, done.stderr
    bare, whole = json.loads(done.stdout)
    assert (bare["plan"]["timed"], whole["plan"]["timed"]) == ("run", "app")
    assert whole["metrics"][0]["median"] > bare["metrics"][0]["median"]
    assert "from images to labels" in run_edgecnn("bench", models[0], *QUICK, "--include", "copy").stdout


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
        (("--sustain", "soon"), "20s, 10m or 1h"),
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


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("10m", 600), ("1h", 3600), ("1.5", 1.5), (" 2s ", 2)])
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert Span().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "0s", "-1m", "inf", "nan", "10d"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Span().convert(text, None, None)


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
