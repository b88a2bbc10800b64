"""What all tests share."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the check of the wheel has pytest alone
    pass
else:
    # No test is about the speed of the machine that it runs on. `make slow` runs them all again with more examples.
    slow = [HealthCheck.too_slow]
    settings.register_profile("thorough", deadline=None, max_examples=100, suppress_health_check=slow)
    settings.register_profile("quick", settings.get_profile("thorough"), max_examples=30)
    settings.load_profile("quick")

# Keep bytecode: where a shell forbids it, pytest rewrites the assertions of every file anew, in every run.
sys.dont_write_bytecode = False

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_finish() -> None:
    """Look for garbage less often, and not among what was imported: torch and its like are a million objects."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_works() -> Iterator[None]:
    """Let children take SIGINT: a shell that starts the tests in the background has it ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def cache_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the tests cache, children included, out of the user's cache, and what lies there out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def children_keep_bytecode() -> Iterator[None]:
    """Let children write __pycache__: where a shell forbids it, each of them compiles the whole package anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        yield


@pytest.fixture(scope="module")
def few_objects() -> None:
    """Keep what is there already out of each gc.collect() of a file's tests: torch alone is a million objects."""
    gc.freeze()


@pytest.fixture
def run_edgecnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in an empty folder, in this process: `run_edgecnn("export", "lenet5")`."""

    from edgecnn.cli.main import run as run_command

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        code = run_command(list(arguments))
        out, error = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, error)

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
