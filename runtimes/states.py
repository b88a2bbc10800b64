"""Which backends can run here: asked in a child process, so that one that crashes or hangs hurts nobody.

The child runs `main`: a JSON line in with the names, or null for all, and a JSON line out for each. Where the child ends
before it has answered for all, the backend that it was at is broken, and another child goes on with the rest.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from typing import Any, Literal

from edgecnn.childcommand import child_command
from edgecnn.childmain import take_output
from edgecnn.errors import EdgecnnError, UnavailableError, first_line
from edgecnn.runtimes.base import Runtime

State = Literal["ok", "unavailable", "broken"]

# Importing an engine takes seconds on a slow board; more than this is a hang.
_TIMEOUT_S = 60.0

# After its last answer the child has nothing left to do.
_END_S = 10.0

_REPORT = "report this to whoever provides it; the other backends are not affected"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendState:
    """Whether a backend can run here.

    Attributes:
        name: what follows `--backend`.
        state: "ok"; "unavailable": it says itself why it cannot run; "broken": it failed in a way that it should not.
        reason: why it is not ok; empty where it is.
        hint: what mends it, or empty.
    """

    name: str
    state: State
    reason: str = ""
    hint: str = ""


def state_of(name: str, get_runtime: Callable[[str], Runtime]) -> BackendState:
    """Return the state of a backend, asked in this process; whatever it raises becomes an answer."""
    try:
        runtime = get_runtime(name)
    except UnavailableError as error:
        return BackendState(name=name, state="broken", reason=error.message, hint=error.hint)
    except (Exception, SystemExit) as error:
        return _failed(name, error)
    try:
        runtime.check()
    except EdgecnnError as error:
        return BackendState(name=name, state="unavailable", reason=error.message, hint=error.hint)
    except (Exception, SystemExit) as error:
        return _failed(name, error)
    return BackendState(name=name, state="ok")


def states_apart(names: Sequence[str] | None = None, *, timeout_s: float = _TIMEOUT_S) -> tuple[BackendState, ...]:
    """Return the states of backends, asked in a child process.

    Args:
        names: which; None asks for all, those of installed provider packages included.
        timeout_s: seconds that one backend may take.
    """
    found: list[BackendState] = []
    left = None if names is None else list(names)
    while left is None or left:
        ended = ""
        for message in _conversation(left, timeout_s):
            if "names" in message:
                left = list(message["names"])
            elif "name" in message and left:
                found.append(BackendState(**message))
                left.remove(message["name"])
            else:
                ended = message.get("ended", "")
        if left is None:
            # Not even the names came: a provider package failed while it was asked for them.
            found.append(BackendState(name="ort:*", state="broken", reason=ended, hint=_REPORT))
            left = _builtin_names()
        elif left:
            found.append(BackendState(name=left.pop(0), state="broken", reason=ended or "no answer", hint=_REPORT))
    return tuple(found)


def main() -> None:
    """Answer a request on standard input; what engines print goes to standard error."""
    with TextIOWrapper(take_output(), encoding="utf-8") as out:
        from edgecnn.runtimes import backend_names, get_runtime  # noqa: PLC0415 (it imports this module)

        names = json.loads(sys.stdin.readline())
        if names is None:
            names = backend_names()
            print(json.dumps({"names": names}), file=out, flush=True)
        for name in names:
            print(json.dumps(asdict(state_of(name, get_runtime))), file=out, flush=True)
        # Engines that are unloaded at the end may crash then; everything has been said.
        out.flush()
        os._exit(0)


def _conversation(names: list[str] | None, timeout_s: float) -> Iterator[dict[str, Any]]:
    """Yield the child's answers, and at last how it ended."""
    child = subprocess.Popen(
        child_command(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(child, names, lines), daemon=True)
    reader.start()
    ended = ""
    try:
        while line := lines.get(timeout=timeout_s):
            yield json.loads(line)
    except queue.Empty:
        ended = f"it did not answer within {timeout_s:g} s"
    finally:
        status = _end(child, kill=bool(ended))
        # Something that the backend started may hold the other end of the pipe.
        reader.join(timeout=1)
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    yield {"ended": ended or f"it ended the process that asked it ({how})"}


def _end(child: subprocess.Popen[str], *, kill: bool) -> int:
    if kill:
        child.kill()
    try:
        return child.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _read(child: subprocess.Popen[str], names: list[str] | None, lines: queue.Queue[str]) -> None:
    if child.stdin is None or child.stdout is None:
        return
    try:
        with child.stdin:
            child.stdin.write(json.dumps(names) + "\n")
    except OSError:
        pass  # it ended before it was asked; the empty answer says so
    with child.stdout:
        for line in child.stdout:
            lines.put(line)
    lines.put("")


def _failed(name: str, error: BaseException) -> BackendState:
    reason = f"{type(error).__name__}: {first_line(error)}"
    return BackendState(name=name, state="broken", reason=reason, hint=_REPORT)


def _builtin_names() -> list[str]:
    from edgecnn.runtimes import PLUGINS  # noqa: PLC0415 (it imports this module)

    return list(PLUGINS.names())
