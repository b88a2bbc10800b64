"""What a server refuses, and what it says then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgecnn.errors import BadInput, DeadlineExceeded, EdgecnnError, Overloaded, UsageError
from edgecnn.images import NoImage, TooManyPixels

if TYPE_CHECKING:
    from starlette.requests import Request

# Kinds of errors and their status, RFC 9110; the first that fits counts.
_STATUS: tuple[tuple[type[EdgecnnError], int], ...] = (
    (TooManyPixels, 413),
    (NoImage, 415),
    (UsageError, 400),
    (Overloaded, 503),
    (DeadlineExceeded, 504),
    (EdgecnnError, 500),
)

_BUSY_HEADERS = {"retry-after": "1"}
# The rest of a body that is not read would be taken for the next request.
_CLOSE = {"connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server.

    Attributes:
        body_bytes: of a request; a larger one is refused before it is read.
        pixels: of an image; a larger one is refused before it is decoded.
        in_flight: requests for inference at a time, those whose body is still on its way included; with body_bytes it
            bounds the memory.
        deadline_s: from the first byte of a request to its answer, seconds.

    Raises:
        BadInput: one is not above 0.
    """

    body_bytes: int = 32 << 20
    pixels: int = 1 << 24
    in_flight: int = 128
    deadline_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("body_bytes", "pixels", "in_flight", "deadline_s"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise BadInput(name, expected="a number above 0", got=str(value))


class Problem(Exception):
    """A request that is answered with an error of HTTP.

    Args:
        status: of HTTP.
        text: what goes back as {"error": text}.
        headers: that go with it.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def problem_of(error: Exception) -> Problem | None:
    """Return how an error is told over HTTP; None for one that is a bug or a failure of the engine."""
    if isinstance(error, Problem):
        return error
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Problem(status, str(error), _BUSY_HEADERS if status == 503 else None)
    return None


def ending() -> Problem:
    """Return what a request is told that comes when the model is about to go."""
    return Problem(503, "this server is shutting down (send it to another one, or again later)", _BUSY_HEADERS | _CLOSE)


@dataclass(slots=True)
class InFlight:
    """Counts requests for inference, and refuses what is too many.

    Attributes:
        most: at a time.
        now: how many there are.
    """

    most: int
    now: int = field(default=0)

    def __enter__(self) -> InFlight:
        if self.now >= self.most:
            raise Problem(
                503, f"the server is full: {self.now} requests are in flight (try again later)", _BUSY_HEADERS | _CLOSE
            )
        self.now += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.now -= 1


async def read_body(request: Request, limits: Limits, end_s: float) -> bytes:
    """Return the body of a request.

    Args:
        request: whose body is not read yet.
        limits: of the server.
        end_s: until when it must be there, see `Service.deadline`.

    Raises:
        Problem: 413 for one that is, or says it is, too large (no more than that is read); 408 for one that does not
            come in time; 415 for a compressed one.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        text = f"the body: expected no Content-Encoding, got {encoding[:40]} (send it as it is)"
        raise Problem(415, text, _CLOSE)
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limits.body_bytes:
        raise _too_large(limits, announced[:40])
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    late = False

    def expire() -> None:
        nonlocal late
        late = True
        task.cancel()

    # asyncio.wait_for makes a task for every call, asyncio.timeout begins with Python 3.11.
    timer = loop.call_later(max(0.0, end_s - time.monotonic()), expire)
    try:
        return await _read(request, limits)
    except asyncio.CancelledError:
        if not late:
            raise
        if hasattr(task, "uncancel"):
            task.uncancel()
        text = f"the body did not come within {limits.deadline_s:g} s (send all of it at once)"
        raise Problem(408, text, _CLOSE) from None
    finally:
        timer.cancel()


async def _read(request: Request, limits: Limits) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.body_bytes:
            raise _too_large(limits, "more")
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limits: Limits, got: str) -> Problem:
    text = f"the body: expected at most {limits.body_bytes} bytes, got {got} (send less at once)"
    return Problem(413, text, _CLOSE)
