"""A server in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgecnn.testing.models import TINY

SOON_S = 60


class Server:
    """A running `edgecnn serve`.

    Attributes:
        process: of the server.
        url: where it listens.
        host: and port, for clients that want them apart.
    """

    def __init__(self, *arguments: str) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgecnn", "serve", str(TINY), "--port", "0", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=self._said,
        )
        self.url = self._wait()
        self.host, self.port = urlsplit(self.url).hostname or "", urlsplit(self.url).port or 0

    def said(self) -> str:
        """Return what it wrote to standard error so far."""
        self._said.seek(0)
        return self._said.read()

    def end(self) -> None:
        """End it at once, where a test has not."""
        self.process.kill()
        self.process.wait()
        self._said.close()

    def _wait(self) -> str:
        end = time.monotonic() + SOON_S
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"^ready on (\S+)$", self.said(), re.M)
            if found:
                return found[1]
            time.sleep(0.02)
        text = self.said()
        self.end()
        raise AssertionError(f"no server came up: {text}")


@contextmanager
def _running(*arguments: str) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.end()


@pytest.fixture
def start_server() -> Callable[..., object]:
    """Return a context manager that runs a server of its own: `with start_server("--drain", "0") as server`."""
    _need_packages()
    return _running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server for the tests that leave it as it was; the body limit is 100 kB."""
    _need_packages()
    with _running(
        "--max-body-mb", "0.1", "--max-megapixels", "0.01", "--max-wait-ms", "1", "--deadline", "20"
    ) as running:
        yield running


@pytest.fixture(scope="session")
def shoe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image file."""
    image = pytest.importorskip("PIL.Image")
    numpy = pytest.importorskip("numpy")
    path = tmp_path_factory.mktemp("images") / "shoe.png"
    image.fromarray(numpy.random.default_rng(0).integers(0, 256, (40, 30, 3), numpy.uint8)).save(path)
    return Path(path)


def _need_packages() -> None:
    for name in ("onnxruntime", "starlette", "uvicorn", "python_multipart", "prometheus_client", "PIL"):
        pytest.importorskip(name)
