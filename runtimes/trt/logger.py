"""TensorRT's logger: one for the process, as TensorRT wants it, which keeps what went wrong.

TensorRT says why something failed nowhere else: its calls return None or False. Nothing is printed and Python's logging is
left alone.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_KEPT = 40

_LOGGERS: dict[Any, KeepingLogger] = {}
_MAKING = threading.Lock()


class KeepingLogger(Protocol):
    """What `engine_logger` returns: an ILogger with a memory."""

    def log(self, severity: Any, msg: str) -> None:
        """Take a message; TensorRT calls this, from threads of its own as well."""

    def errors(self) -> tuple[str, ...]:
        """Return the last errors, oldest first."""

    def warnings(self) -> tuple[str, ...]:
        """Return the last warnings, oldest first."""

    def clear(self) -> None:
        """Forget all messages."""


def engine_logger(trt: Any) -> KeepingLogger:
    """Return this process's logger for a TensorRT module, made at the first call; it needs no GPU.

    TensorRT holds on to the first logger that it is given and warns about any other.
    """
    with _MAKING:
        if trt not in _LOGGERS:
            _LOGGERS[trt] = _new_logger(trt)
        return _LOGGERS[trt]


def last_errors(trt: Any) -> str:
    """Return TensorRT's last errors in one line, without its prefixes; "" where there are none."""
    # The first line is the cause.
    lines = list(dict.fromkeys(_plain(line) for line in engine_logger(trt).errors()))
    return "; ".join(lines[:3])[:600]


def complaints(trt: Any) -> Callable[[str], str]:
    """Return what adds to a text what TensorRT logged since the last failure: its calls say no more than False or None.

    It holds no session: the session's resources hold it, and must not keep the session alive.
    """

    def complain(text: str) -> str:
        logged = last_errors(trt)
        engine_logger(trt).clear()
        return f"{text}: {logged}" if logged else text

    return complain


def _new_logger(trt: Any) -> KeepingLogger:
    errors: deque[str] = deque(maxlen=_KEPT)
    warnings: deque[str] = deque(maxlen=_KEPT)
    severity = trt.ILogger.Severity
    serious = (severity.INTERNAL_ERROR, severity.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity_: Any, msg: str) -> None:
            if severity_ in serious:
                errors.append(msg)
            elif severity_ == severity.WARNING:
                warnings.append(msg)

        def errors(self) -> tuple[str, ...]:
            return tuple(errors)

        def warnings(self) -> tuple[str, ...]:
            return tuple(warnings)

        def clear(self) -> None:
            errors.clear()
            warnings.clear()

    logger: KeepingLogger = Logger()
    return logger


def _plain(line: str) -> str:
    """Return a message on one line, without the call that it comes from: "... Error Code 4: API Usage Error (reason)"."""
    return re.sub(r"^.*?Error Code \d+: ", "", " ".join(line.split()))
