"""`--backend auto` on the command line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.bench.choose import Candidate, Choice
from edgecnn.cli.auto import _told
from edgecnn.testing.models import TINY

Run = Callable[..., "subprocess.CompletedProcess[str]"]  # type: ignore[name-defined] # noqa: F821


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copy(TINY, tmp_path))


@pytest.mark.slow
def test_bench_says_what_it_chose_and_remembers_it(run_edgecnn: Run, model: Path) -> None:
    asked = ("bench", str(model), "--backend", "auto", "--seconds", "0.1", "--threads", "1", "--json")
    first = run_edgecnn(*asked)
    assert first.returncode == 0, first.stderr
    (record,) = json.loads(first.stdout)
    chosen = record["runtime"]["backend"]
    assert f"backend {chosen} for {model.name}:" in first.stderr
    assert "cpu" in first.stderr
    again = run_edgecnn(*asked)
    assert f"backend {chosen} for {model.name}:" in again.stderr
    assert ", remembered" in again.stderr


def test_verify_wants_a_name(run_edgecnn: Run, model: Path) -> None:
    done = run_edgecnn("verify", str(model), "--backend", "auto")
    assert done.returncode == 2
    assert "the verdict is about that backend" in done.stderr


def test_what_was_chosen_is_told_line_by_line() -> None:
    choice = Choice(
        backend="cpu",
        why="the fastest that was measured",
        candidates=(
            Candidate(backend="cuda", reason="no driver"),
            Candidate(backend="cpu", median_ns=2e6),
            Candidate(backend="openvino", median_ns=3e6, reason="throttled"),
        ),
    )
    assert list(_told(choice, "a.onnx")) == [
        "backend cpu for a.onnx: the fastest that was measured",
        "  measured: cpu 2.00 ms, openvino 3.00 ms",
        "  cuda: no driver",
        "  openvino in doubt: throttled",
    ]
    assert next(_told(replace(choice, remembered=True), "a")).endswith("measured, remembered for a day")
    sure = replace(choice, candidates=choice.candidates[:2], remembered=True)
    assert next(_told(sure, "a")).endswith("measured, remembered")
    alone = Choice(backend="cpu", why="the only one that can run here", candidates=(Candidate(backend="cpu"),))
    assert list(_told(alone, "a")) == ["backend cpu for a: the only one that can run here"]
