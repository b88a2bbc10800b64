"""Downloading a file once: into a cache, checked by its SHA-256.

What has come so far lies beside the file as <name>.part and survives an interruption. The file has its name only once its
hash is right; a part with a wrong one is removed, a file that has the name already never. Two processes at once take turns
by a lock on <name>.lock, which the operating system frees when one dies.
"""

from __future__ import annotations

import re
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnavailableError, UsageError
from edgecnn.files import cache_root
from edgecnn.zoo.transfer import OnProgress, Patience, check_url, fetch_part, tag_of

OnWait = Callable[[str], None]
"""Called with a line for the user."""

_LOCK_POLL_S = 0.1


def warn(line: str) -> None:
    """Tell the user by Python's own way, which is a line on standard error."""
    warnings.warn(line, stacklevel=2)


def cache_folder() -> Path:
    """Return the folder of downloaded weights: edgecnn/weights in $XDG_CACHE_HOME, or else in ~/.cache."""
    return cache_root() / "weights"


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
    on_wait: OnWait = warn,
    patience: Patience | None = None,
) -> Path:
    """Return a file of that URL in a folder; nothing is fetched when it is there already.

    Args:
        url: https; http of this machine only.
        sha256_prefix: first hexadecimal digits of the file's SHA-256.
        folder: made where it is missing.
        on_progress: called after every block.
        on_wait: called once, with a line that says so, when another process fetches the same file; a warning by default.
        patience: when to give up.

    Raises:
        UsageError: the URL is neither https nor of this machine.
        UnavailableError: offline, refused, not found, given up, too large, the folder cannot be written to, or
            another process fetches the same file and does not end.
        BadInput: the file has another hash.
    """
    check_url(url)
    path, patience = folder / file_name(url), patience or Patience()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.lock"), patience, on_wait):
            if path.exists():
                _check_kept(path, sha256_prefix, url)
            else:
                _fetch(url, path, sha256_prefix, patience, on_progress)
            return path
    except OSError as error:
        raise UnavailableError(
            f"cannot write {path}: {error.strerror or error}", "free space or set XDG_CACHE_HOME to another folder"
        ) from error


def _fetch(url: str, path: Path, sha256_prefix: str, patience: Patience, on_progress: OnProgress) -> None:
    part = path.with_name(f"{path.name}.part")
    fetch_part(url, part, patience, on_progress)
    found = file_sha256(part)
    if not _is_right(found, sha256_prefix):
        part.unlink()
        hint = "what came was removed; try again, or give --weights FILE"
        raise _wrong_hash(f"SHA-256 of {path.name} from {url}", hint, sha256_prefix, found)
    part.replace(path)
    tag_of(part).unlink(missing_ok=True)


def _check_kept(path: Path, sha256_prefix: str, url: str) -> None:
    """Raise BadInput unless the file that is here already is the published one; whose it is nobody knows, so it stays."""
    found = file_sha256(path)
    if not _is_right(found, sha256_prefix):
        hint = f"move it away to have {url} downloaded, or give it as it is: --weights {path}"
        raise _wrong_hash(f"SHA-256 of {path}, which is not the published file", hint, sha256_prefix, found)


def _is_right(found: str, prefix: str) -> bool:
    return found.startswith(prefix.lower())


def _wrong_hash(message: str, hint: str, prefix: str, found: str) -> BadInput:
    return BadInput(message, hint, expected=f"{prefix}...", got=f"{found[: max(len(prefix), 8)]}...")


@contextmanager
def _locked(path: Path, patience: Patience, on_wait: OnWait) -> Iterator[None]:
    """Hold a lock file while the block runs; waits for the one who has it.

    Systems without `fcntl` (Windows) go without a lock; the hash decides in any case.

    Raises:
        UnavailableError: the other does not end.
    """
    try:
        import fcntl  # noqa: PLC0415 (a module of POSIX systems)
    except ImportError:
        yield
        return

    def is_free() -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    with path.open("w") as file:
        _await(is_free, path, patience, on_wait)
        yield


def _await(is_free: Callable[[], bool], path: Path, patience: Patience, on_wait: OnWait) -> None:
    start, said = time.perf_counter(), False
    while not is_free():
        waited_s = time.perf_counter() - start
        if waited_s > patience.lock_s:
            raise UnavailableError(
                f"{path} is held by another process that downloads the same file, {waited_s:.0f} s after it was asked for",
                "end that process, or set XDG_CACHE_HOME to another folder",
            )
        if waited_s > patience.silent_s and not said:
            on_wait(f"another process is downloading {path.stem}: waiting for it at most {patience.lock_s:.0f} s")
            said = True
        time.sleep(_LOCK_POLL_S)


__all__ = ["OnProgress", "OnWait", "Patience", "cache_folder", "download", "file_name", "warn"]
