"""The command line as a process: what reads its output goes away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgecnn
from edgecnn.cli.main import CLOSED
from edgecnn.testing.models import TINY

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgecnn.__file__).parents[1])}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        pytest.param(("zoo",), marks=pytest.mark.slow),
        pytest.param(("zoo", "--json"), marks=pytest.mark.slow),
        pytest.param(("zoo", "show", "resnet50"), marks=pytest.mark.slow),
        pytest.param(("bench", "--help"), marks=pytest.mark.slow),
        pytest.param(("predict", str(TINY), "image.pgm"), marks=pytest.mark.slow),
        pytest.param(("bench", str(TINY), "--seconds", "0.05"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_closed_pipe_ends_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "image.pgm").write_bytes(b"P5 2 2 255\n1234")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "edgecnn", "--quiet", *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=ENVIRONMENT,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (CLOSED, "")


@pytest.mark.slow
def test_a_closed_pipe_of_errors_ends_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "edgecnn", "zoo", "show", "nothing"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, env=ENVIRONMENT, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout) == (CLOSED, "")


def test_without_a_verb_the_help_is_printed_and_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgecnn"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    printed = done.stdout + done.stderr
    assert printed.startswith("Usage: edgecnn")
    assert "error:" not in printed
    assert "hint:" not in printed
