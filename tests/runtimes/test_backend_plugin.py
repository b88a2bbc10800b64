"""The example of docs/backend-plugin: installed as a user would, it is a backend and passes the public suite."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "backend-plugin"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("setuptools") is None, reason="setuptools, which builds it, is missing"
    ),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which the example is installed; the source folder is left as it was."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(EXAMPLE, source)
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(target), str(ROOT)))}


def _run(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_it_passes_the_public_suite(installed: dict[str, str], tmp_path: Path) -> None:
    suite = ("--pyargs", "edgecnn.testing.conformance", "--backend", "onnx-reference")
    done = _run(installed, "pytest", "-p", "no:cacheprovider", "-rs", *suite, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "cannot run here" not in done.stdout


def test_the_command_line_knows_it(installed: dict[str, str], tmp_path: Path) -> None:
    done = _run(installed, "edgecnn", "backends", "--json", cwd=tmp_path)
    assert '"onnx-reference"' in done.stdout, done.stderr
