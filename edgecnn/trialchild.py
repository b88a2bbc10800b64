"""The child of `edgecnn.trial`: opens the files that it is told to and runs each once on zeros.

It reads JSON lines from standard input and answers each with one on what was its standard output: first {"backend",
"options", "timeout_s"}, answered by {"ready": true}; then {"path"} each, answered by {"refused": null} or {"refused": message,
"hint"}.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from edgecnn.artifacts import load_artifact
from edgecnn.blank import zero_feeds
from edgecnn.errors import BadInput, EdgecnnError, InferenceError, first_line
from edgecnn.jsonform import from_json
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.base import Session
from edgecnn.runtimes.threads import cgroup_memory_limit

# Backends that work in this process's own memory, which can be limited; drivers of accelerators reserve more than they use.
_LIMITED = ("cpu", "openvino", "torch")
_GRACE_S = 5
_LEAST_MEMORY_BYTES = 1 << 30

# Sizes that stand for free dimensions besides the batch: what classifiers of unknown size are mostly made for, and small.
_FREE_SIZES = (224, 32)

_TRUST = "trusted=True opens it without a trial"


def main() -> None:
    """Answer until standard input ends."""
    sys.excepthook = lambda *_: None
    # Whatever engines print must not get between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _answer_all(sys.stdin.buffer, answers)


def _answer_all(requests: IO[bytes], answers: IO[str]) -> None:
    setting = json.loads(requests.readline())
    options = from_json(OpenOptions, setting["options"])
    _limit(setting["backend"])
    _say(answers, {"ready": True})
    # Who asked ends a child that takes too long; should that be gone, the alarm does, also in the middle of an engine.
    limit_s = math.ceil(setting["timeout_s"]) + _GRACE_S
    for line in requests:
        signal.alarm(limit_s)
        _say(answers, _answer(Path(json.loads(line)["path"]), setting["backend"], options))
        signal.alarm(0)


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _answer(path: Path, backend: str, options: OpenOptions) -> dict[str, Any]:
    try:
        with open_session(load_artifact(path, checksum=False), backend=backend, options=options) as session:
            _run_once(session, path)
    except BadInput as error:
        return {"refused": error.message, "hint": error.hint}
    except EdgecnnError:
        # An option or the machine is at fault: whoever asked finds out, and in the right words, when it opens the file.
        return {"refused": None}
    except Exception as error:
        # MemoryError, and what engines raise at their limits.
        return {"refused": f"{path} cannot be opened: {type(error).__name__}: {first_line(error)}", "hint": _TRUST}
    return {"refused": None}


def _run_once(session: Session, path: Path) -> None:
    """Run zeros; a failure counts where the model itself says what it takes."""
    for free in (None, *_FREE_SIZES):
        try:
            feeds = zero_feeds(session.inputs, batch=1, free=free)
        except BadInput:
            continue
        try:
            session.run(feeds)
        except InferenceError as error:
            if free is None or "alloc" in str(error).lower():
                raise BadInput(f"{path} opens but does not run on zeros: {error.message}", _TRUST) from error
            continue
        return


def _limit(backend: str) -> None:
    """Leave no core file, and take no more than half of the memory there is."""
    try:
        import resource  # noqa: PLC0415 (POSIX alone has it)
    except ImportError:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if backend in _LIMITED:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        half = max(_LEAST_MEMORY_BYTES, min(total, cgroup_memory_limit() or total) // 2)
        # Of data, not of addresses: what is reserved and never used does no harm.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (half, resource.getrlimit(resource.RLIMIT_DATA)[1]))


if __name__ == "__main__":
    main()
