"""Requests and answers as lines: one a line, all JSON of one key (`edgecnn.bench.job` has the values)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from edgecnn.bench.job import Block, GarbledError, Timed, decode_durations, encode_in_pieces
from edgecnn.errors import BadInput, EdgecnnError, MeasurementError
from edgecnn.jsonform import from_json, to_json

T = TypeVar("T")

_NO_DURATIONS = b'"durations":""'


def encode_request(name: str, value: object = None) -> bytes:
    """Return the line of a request.

    Args:
        name: as in the module's table.
        value: the dataclass that goes with it.
    """
    return _line({name: to_json(value)})


def decode_request(line: bytes, kinds: Mapping[str, type[Any] | None]) -> tuple[str, Any]:
    """Return a request's name and value.

    Args:
        line: what was read.
        kinds: dataclass of each known request, None where nothing goes with it.

    Raises:
        BadInput: not a request.
    """
    try:
        ((name, data),) = json.loads(line).items()
    except (ValueError, AttributeError) as error:
        raise BadInput(f"the request on standard input is not JSON of one key: {error}") from None
    if name not in kinds:
        raise BadInput("request", expected=", ".join(kinds), got=str(name))
    kind = kinds[name]
    return name, None if kind is None else from_json(kind, data, where=name)


def encode_answer(name: str, value: object) -> bytes:
    """Return the line that answers a request of this name."""
    return _line({name: to_json(value)})


def encode_pieces(name: str, value: object) -> Iterator[bytes]:
    """Yield the same line piece by piece: the durations of a `Timed` block are never in memory a second time."""
    if not isinstance(value, Timed):
        yield encode_answer(name, value)
        return
    before, mark, after = encode_answer(name, value.block).partition(_NO_DURATIONS)
    yield before + mark[:-1]
    yield from encode_in_pieces(value.samples_ns)
    yield mark[-1:] + after


def encode_error(error: EdgecnnError) -> bytes:
    """Return the line that refuses a request."""
    data = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    return _line({"error": data})


def decode_answer(line: bytes, name: str, kind: type[T]) -> T:
    """Return the answer to a request.

    Args:
        line: what was read.
        name: of the request.
        kind: dataclass of the answer.

    Raises:
        EdgecnnError: the worker's own error, of the same class.
        GarbledError: the line is neither such an answer nor an error.
    """
    try:
        data = json.loads(line)
        error = data.get("error")
        failure = None if error is None else _rebuild(error)
        answer = None if failure else from_json(kind, data[name], where=name)
    except (ValueError, KeyError, TypeError, AttributeError, BadInput) as problem:
        raise GarbledError(f"{type(problem).__name__}: {problem}") from None
    if failure is not None:
        raise failure
    assert answer is not None
    for block in (answer, getattr(answer, "block", None)):
        if isinstance(block, Block):
            decode_durations(block.durations)
    return answer


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _rebuild(data: dict[str, Any]) -> EdgecnnError:
    """Return an error of the class that has this name; constructors differ, so only the common part is set."""
    classes = {cls.__name__: cls for cls in _tree(EdgecnnError)}
    cls = classes.get(data["type"], MeasurementError)
    error = cls.__new__(cls)
    EdgecnnError.__init__(error, str(data["message"]), str(data["hint"]))
    return error


def _tree(cls: type[EdgecnnError]) -> Iterator[type[EdgecnnError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _tree(child)
