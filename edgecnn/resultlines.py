"""Records as lines of a file: `append` writes a line and flushes it to the disk, `read` gives the records back.

A last line that was cut short by a crash or a full disk is survived, also where more was appended since.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, ResultsError
from edgecnn.jsonform import from_json, json_schema, to_json
from edgecnn.results import SCHEMA, Record
from edgecnn.unknownkeys import Unknown, unknown_keys, with_unknown

_START = b'{"schema":"edgecnn.result/'
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


class CutShort(ResultsError):
    """A record that breaks off: a crash or a full disk left it behind, and nobody's mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a line says.

    Attributes:
        record: by the keys that this version knows.
        unknown: the other keys, of a newer version for example; written again, the line has them again.
    """

    record: Record
    unknown: Unknown = field(default_factory=dict)


def append(path: Path, records: Iterable[Record | Line]) -> None:
    """Append records to a .jsonl file, one line each, flushed to the disk line by line.

    A last line that an earlier crash cut short is closed first, so that it spoils nothing but itself.

    Raises:
        ResultsError: the file cannot be written, or a record holds a number that JSON has no word for.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a line is one write in append mode, which keeps lines of two processes apart.
        with path.open("ab", buffering=0) as file:
            if file.tell() and not _ends_with_newline(path):
                file.write(b"\n")
            for record in records:
                _write_line(file, _line(record, path))
    except OSError as error:
        raise ResultsError(f"cannot be written: {error.strerror}", path=str(path)) from None


def check_appendable(path: Path) -> None:
    """Return if `append` can write to a file; what was not there before is not there afterwards.

    Raises:
        ResultsError: it cannot.
    """
    existed = path.exists()
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        if not existed:
            path.unlink()
        for folder in made:
            folder.rmdir()
    except OSError as error:
        raise ResultsError(f"cannot be written: {error.strerror}", path=str(path)) from None


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a .jsonl file in order.

    A line that breaks off was cut short by a crash or a full disk; it is passed over, also where `append` closed it later.

    Raises:
        ResultsError: the file cannot be read, or a line is not a record of a known schema.
    """
    for _, found in scan(path):
        if isinstance(found, CutShort):
            continue
        if isinstance(found, ResultsError):
            raise found
        yield found


def scan(path: Path) -> Iterator[tuple[int, Record | ResultsError]]:
    """Yield (line number, record) in order as `read` does, and instead of a foreign line or one cut short its error.

    Raises:
        ResultsError: the file cannot be read.
    """
    for number, found in scan_lines(path):
        yield number, found.record if isinstance(found, Line) else found


def scan_lines(path: Path) -> Iterator[tuple[int, Line | ResultsError]]:
    """Yield what `scan` does, with the keys that this version does not know.

    Raises:
        ResultsError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                # Zeros are what a power cut leaves of blocks that were not written yet.
                line = raw.strip(b"\0\t\r\n ")
                if line:
                    yield number, _parse(line, path, number)
    except OSError as error:
        raise ResultsError(f"cannot be read: {error.strerror}", path=str(path)) from None


def dumps(record: Record | Line) -> str:
    """Return the record as one line of JSON, without the newline.

    Args:
        record: alone, or with the unknown keys of the line that it was read from.

    Raises:
        ValueError: a number is not finite.
    """
    plain = with_unknown(to_json(record.record), record.unknown) if isinstance(record, Line) else to_json(record)
    text = json.dumps(plain, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    # Bytes of a file name that are not UTF-8 are lone surrogates in Python; as escapes they are JSON.
    return text.encode(errors="backslashreplace").decode()


def loads(text: str) -> Record:
    """Return the record of one line.

    Raises:
        BadInput: not a record of a known schema; the message names the key.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}") from None
    return _from_plain(data)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a record."""
    document = json_schema(Record, title=SCHEMA)
    # A default makes it easy to write, but no reader takes a line without it.
    document["$defs"]["Record"]["required"].insert(0, "schema")
    return document


def _from_plain(data: Any) -> Record:
    name = data.get("schema") if isinstance(data, dict) else None
    if name != SCHEMA:
        raise BadInput("schema", "a newer edgecnn wrote this? upgrade to read it", expected=SCHEMA, got=repr(name))
    return from_json(Record, data, where="record", ignore_unknown=True)


def _parse(line: bytes, path: Path, number: int) -> Line | ResultsError:
    try:
        data = json.loads(line)
        return Line(record=_from_plain(data), unknown=unknown_keys(Record, data))
    except BadInput as error:
        return ResultsError(error.message, path=str(path), line=number, key=_key(error), hint=error.hint)
    except (ValueError, RecursionError) as error:
        if _cut_short(line):
            return CutShort("a record that breaks off", path=str(path), line=number)
        return ResultsError(f"not JSON: {error}", path=str(path), line=number)


def _key(error: BadInput) -> str:
    return error.message.partition(":")[0].partition(" ")[0]


def _cut_short(line: bytes) -> bool:
    """Tell one record that breaks off, inside a string or before its last brace, from a foreign or damaged line."""
    if not (line.startswith(_START) or _START.startswith(line)) or line.count(_START) > 1:
        return False
    outside = _JSON_STRING.sub(b"", line)
    return b'"' in outside or outside.count(b"{") > outside.count(b"}")


def _line(record: Record | Line, path: Path) -> bytes:
    try:
        return dumps(record).encode() + b"\n"
    except ValueError as error:
        raise ResultsError(f"cannot be written: {error}", path=str(path)) from None


def _write_line(file: FileIO, line: bytes) -> None:
    """Write a whole line, or none of it where the disk is full."""
    start, written = file.seek(0, os.SEEK_END), 0
    try:
        while written < len(line):
            written += file.write(line[written:])
        os.fsync(file.fileno())
    except OSError:
        # Another process may have appended since; its line is worth more than tidiness.
        if written and file.seek(0, os.SEEK_END) == start + written:
            file.truncate(start)
        raise


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
