"""`edgecnn bench --preset` and `--cache`: what is asked for reaches the session, and the record says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.cli.bench import session_options
from edgecnn.resultlines import read
from edgecnn.runtimes import OpenOptions
from edgecnn.runtimes.presets import preset_options
from edgecnn.testing.models import TINY

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_without_anything_it_is_the_default() -> None:
    assert session_options("latency", threads=None, no_spin=False, cache=None) == OpenOptions()


def test_what_is_said_wins_over_the_preset() -> None:
    assert session_options("latency", threads=3, no_spin=True, cache=True) == OpenOptions(
        threads=3, spinning=False, cache=True
    )
    asked = session_options("embedded", threads=None, no_spin=True, cache=False)
    assert asked == preset_options("embedded", cache=False)
    assert asked.cache is False
    assert session_options("shared", threads=2, no_spin=False, cache=None).threads == 2


@pytest.mark.slow
def test_the_record_states_what_was_chosen(run_edgecnn: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    words = ("bench", str(TINY), "--seconds", "0.05", "--threads", "1", "--preset", "embedded")
    for extra, state in (((), "made"), ((), "from cache"), (("--no-cache",), "off")):
        done = run_edgecnn(*words, *extra)
        assert done.returncode == 0, done.stderr
        runtime = list(read(tmp_path / "results.jsonl"))[-1].runtime
        assert runtime is not None
        assert runtime.threads == 1
        chosen = {name: runtime.options[name] for name in ("spinning", "arena", "mem_pattern", "optimised_model")}
        assert chosen == {"spinning": False, "arena": False, "mem_pattern": False, "optimised_model": state}


def test_a_wrong_preset_is_said_before_anything_is_made(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("bench", "--preset", "embeded")
    assert done.returncode == 2
    assert "unknown preset 'embeded'" in done.stderr
    assert "did you mean embedded?" in done.stderr
    assert not list(tmp_path.iterdir())
