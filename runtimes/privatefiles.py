"""Files that this user alone may write to: the checks, the lock and the flushing that a cache of code needs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecnn.errors import UnavailableError

CACHE_HINT = "give another cache_folder, or cache=False to work without one"


def check_private(folder: Path, status: os.stat_result) -> None:
    """Return if a folder belongs to this user and nobody else may write to it; others may look.

    Raises:
        UnavailableError: it is no such folder.
    """
    if not stat.S_ISDIR(status.st_mode):
        raise UnavailableError(f"the cache {folder} is not a folder", CACHE_HINT)
    if status.st_uid != os.geteuid():
        raise UnavailableError(
            f"the cache {folder} belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this", CACHE_HINT
        )
    if _others_write(status):
        raise UnavailableError(
            f"others may write to the cache {folder} (mode {stat.S_IMODE(status.st_mode):o}), and what it keeps is code",
            f"chmod 700 {folder}",
        )


def own_sha256(path: Path) -> str | None:
    """Return the digest of a plain file of this user; None for anything else, links included."""
    import hashlib  # noqa: PLC0415 (it loads OpenSSL, which opening a model of the cache does not need)

    digest = hashlib.sha256()
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or _others_write(status):
                return None
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a key; it ends with the process at the latest. Its file stays: removing it would make two locks.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is False.
    """
    import fcntl  # noqa: PLC0415 (POSIX alone has it, and this module is imported for its names elsewhere)

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to bring to a disk
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        import shutil  # noqa: PLC0415 (a rare case)

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _others_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
