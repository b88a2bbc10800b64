"""Asking a child process one thing and reading its one answer: what is measured besides models has the same frame."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from edgecnn.bench.child import run_child
from edgecnn.bench.job import GarbledError
from edgecnn.bench.wire import decode_answer, decode_request, encode_answer, encode_error, encode_request
from edgecnn.childcommand import child_command
from edgecnn.childmain import die_with_parent, take_output
from edgecnn.errors import EdgecnnError, MeasurementError

T = TypeVar("T")


def ask(
    module: str,
    name: str,
    value: object,
    kind: type[T],
    *,
    limit_seconds: float,
    on_wait: Callable[[float], None] | None = None,
    command: Sequence[str] | None = None,
) -> T:
    """Return what a fresh child answers.

    Args:
        module: whose `main` the child runs; it calls `answer_one`.
        name: of the request.
        value: the dataclass that goes with it.
        kind: dataclass of the answer.
        limit_seconds: after this the child counts as hung.
        on_wait: called twice a second with the seconds since the start.
        command: program and arguments of the child, by default this interpreter's.

    Raises:
        EdgecnnError: the child's own error, of the same class.
        MeasurementError: the child died, hung or wrote nonsense.
    """
    ended = run_child(
        command or child_command(module), encode_request(name, value), limit_seconds=limit_seconds, on_wait=on_wait
    )
    try:
        return decode_answer(ended.output, name, kind)
    except GarbledError as error:
        unread = not ended.timed_out and not ended.status and ended.output
        cause = f"the worker's answer cannot be read: {error}" if unread else ended.cause
        raise MeasurementError(cause, "try again; --debug shows more") from None


def answer_one(name: str, kind: type[Any], perform: Callable[[Any], object]) -> None:
    """Answer the request on standard input on standard output; what else is printed goes to standard error.

    Args:
        name: of the request.
        kind: its dataclass.
        perform: gives the answer, or raises an error of edgecnn.
    """
    die_with_parent()
    with take_output() as output:
        try:
            _, value = decode_request(sys.stdin.buffer.read(), {name: kind})
            output.write(encode_answer(name, perform(value)))
        except EdgecnnError as error:
            output.write(encode_error(error))
