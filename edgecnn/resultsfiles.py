"""Many results files as one row of records: files and folders go in, foreign lines are reported and passed over."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgecnn.errors import BadInput, ResultsError
from edgecnn.resultlines import Line, append, dumps, scan_lines
from edgecnn.results import Record
from edgecnn.units import count_of
from edgecnn.unknownkeys import Unknown

SUFFIX = ".jsonl"

Report = Callable[[ResultsError], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record and where it stands.

    Attributes:
        path: the file.
        line: 1-based line number.
        record: what the line says.
        unknown: keys of the line that this version does not know, with their values.
    """

    path: Path
    line: int
    record: Record
    unknown: Unknown = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did.

    Attributes:
        files: results files that were read.
        added: records that were written.
        known: records that were there already, or came more than once.
        foreign: lines that are no records.
        newer: of those that were added, the ones with keys that this version does not know; they have kept them.
    """

    files: int
    added: int
    known: int
    foreign: int
    newer: int = 0


def find_results(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return results files: files as given, and of folders all that end in .jsonl, at any depth, by name; each once.

    Raises:
        BadInput: something that is not there, or a folder without results.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path} does not exist", "edgecnn bench writes results.jsonl")
        inside = _of_folder(path) if path.is_dir() else (path,)
        if not inside:
            raise BadInput(str(path), expected=f"a folder with files that end in {SUFFIX}", got="none in it")
        found.update(dict.fromkeys(inside))
    return tuple(found)


def read_all(paths: Iterable[Path], *, on_foreign: Report) -> Iterator[Found]:
    """Yield the records of files in order, of this schema and of all older ones.

    Args:
        paths: results files.
        on_foreign: called with an error that names file and line, for each line that is no record, or is cut short.

    Raises:
        ResultsError: a file cannot be read.
    """
    for path in paths:
        for line, found in scan_lines(path):
            if isinstance(found, ResultsError):
                on_foreign(found)
            else:
                yield Found(path=path, line=line, record=found.record, unknown=found.unknown)


def import_results(folder: Path, output: Path, *, on_foreign: Report) -> Imported:
    """Append to a file what the results files of a folder have and it has not; records of one content are one record.

    Keys that this version does not know are part of the content, and are written as they were read.

    Args:
        folder: with results files at any depth; `output` itself is not read as one of them.
        output: results file, may be new.
        on_foreign: called with an error that names file and line, for each line that is no record.

    Raises:
        BadInput: no such folder, or no results in it.
        ResultsError: a file cannot be read, or `output` cannot be written.
    """
    if not folder.is_dir():
        raise BadInput(str(folder), expected="a folder", got="a file" if folder.exists() else "nothing of that name")
    own = output.resolve()
    paths = tuple(path for path in find_results([folder]) if path.resolve() != own)
    seen = _known(output, on_foreign)
    foreign: list[ResultsError] = []

    def report(error: ResultsError) -> None:
        foreign.append(error)
        on_foreign(error)

    new: list[Line] = []
    known = 0
    for found in read_all(paths, on_foreign=report):
        if not _is_json(found.unknown):
            why = "record has keys that this version does not know, with numbers that are not finite"
            report(ResultsError(why, path=str(found.path), line=found.line))
            continue
        content = _content(found)
        if content in seen:
            known += 1
        else:
            seen.add(content)
            new.append(_line(found))
    append(output, new)
    newer = sum(bool(line.unknown) for line in new)
    return Imported(files=len(paths), added=len(new), known=known, foreign=len(foreign), newer=newer)


def repeated(found: Iterable[Found]) -> int:
    """Return how many records are there once more than they should: those whose content came before."""
    counts = Counter(_content(one) for one in found)
    return sum(counts.values()) - len(counts)


def newer_note(found: Iterable[Found]) -> str:
    """Return what is to be said of records with keys that this version does not know; empty where there are none."""
    newer = sum(bool(one.unknown) for one in found)
    told = f"{count_of(newer, 'record')} with keys that this edgecnn does not know, which are not looked at"
    return told if newer else ""


def _of_folder(folder: Path) -> tuple[Path, ...]:
    # rglob goes into hidden folders too; editors and syncing tools keep half-written copies there.
    files = (path for path in folder.rglob(f"*{SUFFIX}") if path.is_file())
    shown = (path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return tuple(sorted(shown))


def _known(output: Path, on_foreign: Report) -> set[bytes]:
    if not output.exists():
        return set()
    return {_content(found) for found in read_all([output], on_foreign=on_foreign)}


def _line(found: Found) -> Line:
    return Line(record=found.record, unknown=found.unknown)


def _content(found: Found) -> bytes:
    """Return a digest of what a record says, whatever the order and spacing of its line and its version's missing keys."""
    unknown = json.dumps(found.unknown, sort_keys=True) if found.unknown else ""
    return hashlib.sha256(f"{dumps(found.record)}{unknown}".encode()).digest()


def _is_json(unknown: Unknown) -> bool:
    """Tell whether values can be written; Python reads numbers that are not finite, and JSON has none."""
    try:
        json.dumps(unknown, allow_nan=False)
    except ValueError:
        return False
    return True
