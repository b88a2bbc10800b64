"""`--backend auto` on the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.bench.choose import Candidate
from edgecnn.cli.auto import _seen
from edgecnn.testing.models import TINY

Run = Callable[..., "subprocess.CompletedProcess[str]"]  # type: ignore[name-defined] # noqa: F821


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copy(TINY, tmp_path))


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
    assert ", remembered (" in again.stderr


def test_verify_wants_a_name(run_edgecnn: Run, model: Path) -> None:
    done = run_edgecnn("verify", str(model), "--backend", "auto")
    assert done.returncode == 2
    assert "the verdict is about that backend" in done.stderr


@pytest.mark.parametrize(
    ("candidate", "text"),
    [
        (Candidate(backend="cpu", median_ns=2e6), "cpu 2.00 ms"),
        (Candidate(backend="cpu", median_ns=2e6, reason="throttled"), "cpu 2.00 ms, in doubt: throttled"),
        (Candidate(backend="cuda", reason="no driver"), "cuda: no driver"),
        (Candidate(backend="cpu"), "cpu"),
    ],
)
def test_a_time_is_told_with_what_speaks_against_it(candidate: Candidate, text: str) -> None:
    assert _seen(candidate) == text
