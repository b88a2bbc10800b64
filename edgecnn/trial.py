"""Trying a model file in a child process, so that a file that crashes the engine does not crash the caller.

Engines are written in C++, and some files make them read where nothing is, or never come back: an app that opens such a
file is gone, without an exception. `Trial` opens the file in a child, with the backend and options that will be used, and
runs it once on zeros; a child that dies, hangs or takes too much memory is a BadInput. What passed is remembered in the
cache by the file's SHA-256, backend, options, engine version and machine, so that a file is tried once.

What this is worth: a file that passed opens and runs once without a crash. It protects from damaged and foreign files. It
is no sandbox: the child has this user's rights, and a file that was made to behave in a trial and crash later on other
values is not found out.
"""

from __future__ import annotations

import json
import os
import platform
import selectors
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL, Signals
from types import TracebackType
from typing import Any

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnavailableError
from edgecnn.jsonform import to_json
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact

TIMEOUT_S = 60.0
"""Opening and running a file once takes at most so long; engines that build first have longer."""

_BUILD_TIMEOUT_S = 3600.0
_BUILDERS = ("trt", "ort-trt")
_START_TIMEOUT_S = 60.0

# Backend -> its engine's package, whose version a passed trial belongs to. Trials of other backends are not remembered.
_ENGINES = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime",
    "ort-trt": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "trt": "tensorrt",
}

# A child is replaced after so many files: engines leak a little with each.
_FILES_PER_CHILD = 200

_TRUST = "if you know where it is from, trusted=True opens it without a trial"


class Trial:
    """A child process that opens model files; it is started with the first file and replaced when a file kills it.

    Args:
        backend: what opens them.
        options: how.
        timeout_s: time for one file; None is TIMEOUT_S, or an hour for engines that build.
    """

    def __init__(
        self, backend: str = "cpu", options: OpenOptions | None = None, *, timeout_s: float | None = None
    ) -> None:
        self.backend = backend
        self.options = options or OpenOptions()
        self.timeout_s = timeout_s or (_BUILD_TIMEOUT_S if backend in _BUILDERS else TIMEOUT_S)
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def try_file(self, path: Path) -> None:
        """Return if a file opens and runs once without a crash.

        Raises:
            BadInput: it crashed or stopped the engine, needs too much memory, or the engine refused it.
            UnavailableError: no child process can be started here.
        """
        with self._lock:
            answer = self._ask(path)
            if answer is None:
                raise BadInput(f"{path} stopped the engine: no answer within {self.timeout_s:.0f} s", _TRUST)
            if isinstance(answer, int):
                raise BadInput(f"the engine crashed on {path} ({_ending(answer)})", _TRUST)
            if answer.get("refused"):
                raise BadInput(str(answer["refused"]), str(answer.get("hint", "")))

    def close(self) -> None:
        """End the child; a further file starts another."""
        with self._lock:
            self._end()

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, path: Path) -> dict[str, Any] | int | None:
        """Return what the child says, the status that it ended with, or None when its time was over."""
        fresh = self._child is None or self._child.files >= _FILES_PER_CHILD
        answer = self._ask_child(path, fresh)
        if isinstance(answer, int) and not fresh:
            # The file before may have done the damage: only a fresh child tells.
            return self._ask_child(path, True)
        return answer

    def _ask_child(self, path: Path, fresh: bool) -> dict[str, Any] | int | None:
        answer: dict[str, Any] | int | None = None
        try:
            if fresh or self._child is None:
                self._end()
                self._child = _Child(self.backend, self.options, self.timeout_s)
            answer = self._child.ask({"path": str(path.absolute())}, self.timeout_s)
        finally:
            if not isinstance(answer, dict):
                self._end()
        return answer

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


def try_first(artifact: Artifact, backend: str, options: OpenOptions, trial: Trial | None = None) -> None:
    """Return if a file passes a trial, or passed one before.

    Args:
        artifact: the file.
        backend: what will open it; its `check` has passed, so that its engine is imported.
        options: how.
        trial: a child that is running already; it is left running.

    Raises:
        BadInput: as `Trial.try_file`.
        UnavailableError: no child process can be started here.
    """
    if backend == "null":
        return  # it does not read the file
    key = _key(artifact, backend, options)
    if key is not None and _is_remembered(key, options):
        return
    if trial is not None:
        trial.try_file(artifact.path)
    else:
        with Trial(backend, options) as own:
            own.try_file(artifact.path)
    if key is not None:
        _remember(key, options)


def _key(artifact: Artifact, backend: str, options: OpenOptions) -> dict[str, Any] | None:
    """Return what a passed trial depends on; None where that is not known, or nothing is to be kept."""
    engine = sys.modules.get(_ENGINES.get(backend, "onnxruntime" if backend.startswith("ort:") else ""))
    version = getattr(engine, "__version__", None)
    if options.cache is False or not isinstance(version, str):
        return None
    try:
        digest = file_sha256(artifact.path)
    except OSError:
        return None
    return {
        "kind": "trial",
        "sha256": digest,
        "backend": backend,
        "engine_version": version,
        "options": to_json(replace(options, cache=None, cache_folder=None)),
        "machine": [platform.node(), platform.machine()],
    }


def _is_remembered(key: dict[str, Any], options: OpenOptions) -> bool:
    from edgecnn.runtimes.cache import Cache  # noqa: PLC0415 (a trusted file does not need it)

    try:
        return Cache(options.cache_folder).get(key) is not None
    except (UnavailableError, RuntimeError, OSError):  # RuntimeError: there is no home folder
        return False


def _remember(key: dict[str, Any], options: OpenOptions) -> None:
    from edgecnn.runtimes.cache import Cache  # noqa: PLC0415 (a trusted file does not need it)

    # A machine without a place to write tries the file each time.
    with suppress(UnavailableError, RuntimeError, OSError):
        Cache(options.cache_folder).put(key, "passed.txt", _write_passed)


def _write_passed(path: Path) -> None:
    path.write_text("opened and ran once without a crash\n", encoding="utf-8")


class _Child:
    """One child process and the conversation with it: a JSON line each way, see `edgecnn.trialchild`."""

    def __init__(self, backend: str, options: OpenOptions, timeout_s: float) -> None:
        from edgecnn.childcommand import child_command  # noqa: PLC0415 (only those who try a file need it)

        if getattr(sys, "frozen", False) or not sys.executable:
            raise UnavailableError("there is no Python interpreter to try the file with in a child process", _TRUST)
        self.files = 0
        self._buffer = b""
        try:
            self._process = subprocess.Popen(
                child_command("edgecnn.trialchild"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(
                f"the file cannot be tried, for no child process can be started: {error.strerror}", _TRUST
            ) from error
        setting = {"backend": backend, "options": to_json(options), "timeout_s": timeout_s}
        ready = self.ask(setting, _START_TIMEOUT_S)
        if not isinstance(ready, dict) or ready.get("ready") is not True:
            self.end()
            raise UnavailableError(
                f"the file cannot be tried: {sys.executable} did not start as a child process", _TRUST
            )
        self.files = 0

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any] | int | None:
        """Return the answer, the status of a child that ended, or None when the time is over."""
        self.files += 1
        assert self._process.stdin is not None
        # A child that is gone already shows in its output.
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        line = self._line(timeout_s)
        if line is None:
            return None
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        self._kill()
        return self._process.wait()

    def end(self) -> None:
        """Kill the child and all that it started, and wait for it."""
        self._kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _line(self, timeout_s: float) -> bytes | None:
        """Return the next line, what there is of it when the child closes, or None when the time is over."""
        assert self._process.stdout is not None
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                block = os.read(self._process.stdout.fileno(), 1 << 16)
                if not block:
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(5)
                    return self._buffer
                self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _kill(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, SIGKILL)
            self._process.kill()


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status}, {Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
