"""The manifest of a folder: SHA256SUMS, which `sha256sum -c` reads as well, written and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput
from edgecnn.exporters.package.folders import write_file

SUMS = "SHA256SUMS"
"""Name of the manifest in its folder."""

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """One file of a folder.

    Attributes:
        name: relative to the folder, with slashes.
        size_bytes: of the file.
        sha256: hexadecimal.
    """

    name: str
    size_bytes: int
    sha256: str


def list_files(folder: Path) -> tuple[PackagedFile, ...]:
    """Return every file of a folder but its manifest, in the order of names; caches of Python are passed over."""
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    relative = sorted((path.relative_to(folder).as_posix(), path) for path in found)
    return tuple(
        PackagedFile(name=name, size_bytes=path.stat().st_size, sha256=file_sha256(path))
        for name, path in relative
        if name != SUMS
    )


def write_manifest(folder: Path) -> tuple[PackagedFile, ...]:
    """Write SHA256SUMS for what is in a folder now and return the files that it lists."""
    files = list_files(folder)
    write_file(folder / SUMS, "".join(f"{file.sha256}  {file.name}\n" for file in files))
    return files


def check_manifest(folder: Path) -> tuple[PackagedFile, ...]:
    """Return the files of a folder that is as its manifest says.

    Raises:
        BadInput: there is no manifest or it is damaged, or a file is missing, changed or not in it.
    """
    listed = _read(folder)
    there = list_files(folder)
    sums = {file.name: file.sha256 for file in there}
    faults = [f"{name} is missing" for name in listed if name not in sums]
    faults += [f"{name} is changed" for name, sha256 in listed.items() if sums.get(name, sha256) != sha256]
    faults += [f"{name} is not in {SUMS}" for name in sums if name not in listed]
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise BadInput(f"{folder}: {', '.join(faults[:_SHOWN])}{more}", "copy or package it again")
    return there


def _read(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        raise BadInput(f"{folder} has no {SUMS}", "give a folder that edgecnn package --for app wrote")
    lines: Sequence[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or not _stays_inside(match["name"]):
            raise BadInput(
                f"{path}, line {number}", expected="a SHA-256, two blanks and a file below it", got=line[:100]
            )
        listed[match["name"]] = match["sha256"]
    if not listed:
        raise BadInput(f"{path} is empty", "package it again")
    return listed


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
