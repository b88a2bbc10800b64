"""Downloading a file once: into a cache, checked by its SHA-256.

What has come so far lies beside the file as <name>.part and survives an interruption. The file has its name only once its
hash is right. Two processes at once take turns by a lock on <name>.lock, which the operating system frees when one dies.
"""

from __future__ import annotations

import os
import re
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnavailableError, UsageError
from edgecnn.zoo.transfer import OnProgress, Patience, check_url, fetch_part, tag_of

_LOCK_POLL_S = 0.1


def cache_folder() -> Path:
    """Return the folder of downloaded weights: edgecnn/weights in $XDG_CACHE_HOME, or else in ~/.cache."""
    # The XDG Base Directory Specification has relative paths ignored.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "edgecnn" / "weights"


def file_name(url: str) -> str:
    """Return the name of the file that a URL leads to.

    Raises:
        UsageError: it has none that is safe to write.
    """
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", name):
        raise UsageError(f"{url} does not end in the name of a file")
    return name


def download(
    url: str,
    sha256_prefix: str,
    folder: Path,
    *,
    on_progress: OnProgress = lambda done, total: None,
    patience: Patience | None = None,
) -> Path:
    """Return a file of that URL in a folder; nothing is fetched when it is there already.

    Args:
        url: https; http of this machine only.
        sha256_prefix: first hexadecimal digits of the file's SHA-256.
        folder: made where it is missing.
        on_progress: called after every block.
        patience: when to give up.

    Raises:
        UsageError: the URL is neither https nor of this machine.
        UnavailableError: offline, refused, not found, given up, too large, or the folder cannot be written to.
        BadInput: the file has another hash; it was removed.
    """
    check_url(url)
    path = folder / file_name(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock")):
            if not path.exists():
                part = path.with_name(f"{path.name}.part")
                fetch_part(url, part, patience or Patience(), on_progress)
                _check_hash(part, sha256_prefix, url)
                part.replace(path)
                tag_of(part).unlink(missing_ok=True)
                return path
            _check_hash(path, sha256_prefix, url)
            return path
    except OSError as error:
        raise UnavailableError(
            f"cannot write {path}: {error.strerror or error}", "free space or set XDG_CACHE_HOME to another folder"
        ) from error


def _check_hash(path: Path, prefix: str, url: str) -> None:
    found = file_sha256(path)
    if not found.startswith(prefix.lower()):
        path.unlink()
        raise BadInput(
            f"SHA-256 of {path.name.removesuffix('.part')} from {url}",
            "the file was removed; try again, or give --weights FILE",
            expected=f"{prefix}...",
            got=f"{found[: max(len(prefix), 8)]}...",
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file while the block runs; waits for the one who has it.

    Systems without `fcntl` (Windows) go without a lock; the hash decides in any case.
    """
    try:
        import fcntl  # noqa: PLC0415 (a module of POSIX systems)
    except ImportError:
        yield
        return
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
        yield


__all__ = ["OnProgress", "Patience", "cache_folder", "download", "file_name"]
