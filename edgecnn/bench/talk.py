"""A child process that is talked to, line by line; it always ends, and it never outlives the caller."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO

from edgecnn.bench.child import Ended, close_pipes, end_child, last_words, start_child, tail_of

# A million samples on one line are 11 MB; what is longer is no answer.
_LONGEST_LINE_BYTES = 64 << 20
# A pipe takes so much at once from a writer whom nobody reads (PIPE_BUF on Linux).
_UNREAD_BYTES = 4096
# How long a child that has closed its output may take to end.
_LAST_SECONDS = 0.5


class TalkEnded(Exception):
    """A child that was talked to has ended; outside edgecnn's tree, because it never leaves this package.

    Attributes:
        ended: how.
    """

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.cause)
        self.ended = ended


class Talk:
    """A child process that answers lines with lines; it is gone when the `with` block is left, whatever happens in it.

    Args:
        command: program and arguments; no shell is involved.

    Raises:
        MeasurementError: the child cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        try:
            self._process = start_child(command, self._errors)
        except BaseException:
            self._errors.close()
            raise
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ended: Ended | None = None
        self._reader = threading.Thread(target=self._read, name="edgecnn-talk", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Number of the child."""
        return self._process.pid

    def ask(self, line: bytes, *, limit_seconds: float) -> bytes:
        """Return the line that answers a line.

        Args:
            line: with its newline.
            limit_seconds: without an answer by then, the child is killed.

        Raises:
            TalkEnded: the child has ended, was too slow, or wrote a line without an end.
        """
        if self._ended is None:
            self._write(line)
            try:
                answer = self._lines.get(timeout=limit_seconds)
            except queue.Empty:
                raise self._end(timed_out=True) from None
            if answer.endswith(b"\n"):
                return answer
            # It closed its output: give it the time to say why.
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_LAST_SECONDS)
            raise self._end(output=answer)
        raise TalkEnded(self._ended)

    def pause(self) -> None:
        """Stop all threads of the child and of what it started, those that wait actively included, until `resume`."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let a paused child go on."""
        self._signal("SIGCONT")

    def end(self) -> None:
        """End the child with all that it started; further calls do nothing."""
        if self._ended is None:
            self._end()

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        line = b"\n"
        while line.endswith(b"\n"):
            try:
                line = self._process.stdout.readline(_LONGEST_LINE_BYTES)
            except (OSError, ValueError):
                line = b""
            self._lines.put(line)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        if len(line) <= _UNREAD_BYTES:
            _write_all(self._process.stdin, line)
        else:  # a child that reads nothing must not hold up the caller
            threading.Thread(target=_write_all, args=(self._process.stdin, line), daemon=True).start()

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and hasattr(os, "killpg") and self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, getattr(signal, name))

    def _end(self, *, output: bytes = b"", timed_out: bool = False) -> TalkEnded:
        # What it is killed with here says nothing about why it stopped answering.
        status = self._process.poll() or 0
        end_child(self._process, close=False)
        self._reader.join(_LAST_SECONDS)
        close_pipes(self._process)
        self._ended = Ended(
            status=status,
            output=output,
            last_words=last_words(tail_of(self._errors)),
            timed_out=timed_out,
        )
        self._errors.close()
        return TalkEnded(self._ended)


def _write_all(pipe: IO[bytes], line: bytes) -> None:
    with suppress(OSError, ValueError):
        pipe.write(line)
        pipe.flush()
