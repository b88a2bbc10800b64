"""Running one child process to its end: it always ends, and it never outlives the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from edgecnn.errors import MeasurementError

_TICK_SECONDS = 0.5

_QUIET_ENGINES = {"ORT_DISABLE_TELEMETRY": "1"}
# From 1.29 on, ONNX Runtime's package for Linux starts threads of its own and sends what it ran to its maker while runs are
# timed; nothing but this variable, read when it is imported, keeps it from that (onnxruntime, posix/telemetry_1ds.cc).

_TAIL_BYTES = 8192
_LAST_LINES = 3
_LAST_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended.

    Attributes:
        status: exit status, or minus the signal that killed it.
        output: what it wrote to standard output.
        last_words: the end of what it wrote to standard error, on one line.
        timed_out: it was killed because its time was over.
    """

    status: int
    output: bytes
    last_words: str
    timed_out: bool

    @property
    def cause(self) -> str:
        """How it ended, in words, with its last words."""
        if self.timed_out:
            text = "the worker did not answer in time and was stopped"
        elif self.status == -signal.SIGKILL:
            text = "the worker was killed (SIGKILL), as the kernel does when memory runs out"
        elif self.status < 0:
            text = f"the worker crashed ({_signal_name(-self.status)})"
        elif self.status:
            text = f"the worker ended with status {self.status}"
        else:
            text = "the worker wrote no result"
        return f"{text}: {self.last_words}" if self.last_words else text


def run_child(
    command: Sequence[str],
    message: bytes,
    *,
    limit_seconds: float,
    on_wait: Callable[[float], None] | None = None,
) -> Ended:
    """Return how a child ended that got a message on standard input.

    The child has a session of its own, so that Ctrl-C in a terminal reaches only this process, which then ends the
    child and all that it started. Whatever is raised here, the child is gone before it leaves.

    Args:
        command: program and arguments; no shell is involved.
        message: all of its standard input.
        limit_seconds: after this it is killed.
        on_wait: called twice a second with the seconds since the start.

    Raises:
        MeasurementError: the child cannot be started.
    """
    with tempfile.TemporaryFile() as errors:
        process = start_child(command, errors)
        try:
            output, timed_out = _converse(process, message, limit_seconds, on_wait)
        finally:
            end_child(process)
        return Ended(
            status=process.returncode, output=output, last_words=last_words(tail_of(errors)), timed_out=timed_out
        )


def last_words(text: str) -> str:
    """Return the last lines of an error output on one line; of a Python traceback only the one that names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    count = 1 if any(line.startswith("Traceback (most recent call last)") for line in lines) else _LAST_LINES
    return " | ".join(lines[-count:])[-_LAST_CHARACTERS:]


def start_child(command: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Return a child with pipes and a session of its own, whose standard error goes to a file.

    Its environment is this process's, with what keeps engines from doing work of their own beside the runs.

    Raises:
        MeasurementError: it cannot be started.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **_QUIET_ENGINES},
            start_new_session=True,
        )
    except OSError as error:
        raise MeasurementError(f"the worker process cannot be started: {error.strerror}") from error


def _converse(
    process: subprocess.Popen[bytes], message: bytes, limit_seconds: float, on_wait: Callable[[float], None] | None
) -> tuple[bytes, bool]:
    """Return all output, and whether the time was over before the child closed it."""
    start = time.perf_counter_ns()
    unsent: bytes | None = message
    elapsed = 0.0
    while elapsed < limit_seconds:
        try:
            wait = limit_seconds - elapsed
            output, _ = process.communicate(unsent, timeout=min(wait, _TICK_SECONDS) if on_wait else wait)
        except subprocess.TimeoutExpired:
            unsent = None
        else:
            return output, False
        elapsed = (time.perf_counter_ns() - start) / 1e9
        if on_wait:
            on_wait(elapsed)
    return b"", True


def end_child(process: subprocess.Popen[bytes], *, close: bool = True) -> None:
    """Kill the child with all that it started and wait for it; another Ctrl-C does not get in between."""
    interrupted = None
    while process.returncode is None:
        try:
            _kill_group(process)
            process.wait()
        except KeyboardInterrupt as error:
            interrupted = error
    if close:
        close_pipes(process)
    if interrupted:
        raise interrupted


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close this end of a child's pipes."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(OSError):
                pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def tail_of(file: IO[bytes]) -> str:
    """Return the last 8 KiB of a file."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
    return file.read().decode(errors="replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
