"""What all tests share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_edgecnn(tmp_path: Path) -> Run:
    """Run the command line in a process of its own, in an empty folder: `run_edgecnn("export", "lenet5")`."""

    def run(*arguments: str, cwd: Path = tmp_path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgecnn", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)

    return run


@pytest.fixture(scope="session")
def lenet5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lenet5 with its bundled weights, exported once for all tests; do not change the file."""
    pytest.importorskip("torch")
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.choice import choose_form

    form, source = choose_form("lenet5", None)
    path = tmp_path_factory.mktemp("models") / "lenet5.onnx"
    return export_network(form, path, ExportOptions(weights=source)).path
