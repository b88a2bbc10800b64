"""Where a record comes from: versions, command line, time, machine; nothing that tells who or where the user is."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import edgecnn
from edgecnn.devices.detect import host_id
from edgecnn.results import Provenance

_SOURCE_FOLDER = Path(edgecnn.__file__).resolve().parents[1]

# A folder part: everything up to a slash, back to the start of the argument, of a list item or of an option's value.
_FOLDERS = re.compile(r"[^,=:]*[/\\]")

_HEX_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def make_provenance(argv: Sequence[str] | None = None) -> Provenance:
    """Return the provenance of a record that is measured now.

    Args:
        argv: the command line, by default this process's.
    """
    return Provenance(
        edgecnn=edgecnn.__version__,
        commit=read_commit(_SOURCE_FOLDER),
        python=platform.python_version(),
        numpy=np.__version__,
        argv=without_folders(sys.argv if argv is None else argv),
        time_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        host=host_id(),
    )


def without_folders(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments with every path cut down to its last part."""
    return tuple(_FOLDERS.sub("", argument.rstrip("/\\")) for argument in argv)


def read_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in a working copy, None if there is none; edited files are not seen.

    Args:
        folder: the top of the working copy; folders above it are not searched.
    """
    try:
        git = _git_folder(folder)
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if head.startswith("ref: "):
            head = _resolve(git, head.removeprefix("ref: "))
    except (OSError, UnicodeDecodeError):
        return None
    return head if _HEX_COMMIT.fullmatch(head) else None


def _git_folder(folder: Path) -> Path:
    """Return the folder with HEAD; in a linked working copy .git is a file that names it."""
    git = folder / ".git"
    if git.is_file():
        return folder / git.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    return git


def _resolve(git: Path, reference: str) -> str:
    """Return what a branch points to: a file of its own, or a line of packed-refs; "" for a branch without a commit."""
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
    for home in (git, shared):
        if (home / reference).is_file():
            return (home / reference).read_text(encoding="utf-8").strip()
    packed = shared / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit
    return ""
