"""Writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecnn.errors import UnavailableError


def cache_root() -> Path:
    """Return the folder of what can be made or fetched again: edgecnn in $XDG_CACHE_HOME, or else in ~/.cache."""
    # The XDG Base Directory Specification has relative paths ignored.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "edgecnn"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes `path` in one step if the block ends well.

    The temporary has the same suffix, and is removed if the block raises, an interruption included. Missing folders
    are made.

    Raises:
        UnavailableError: the disk is full, or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.stem}.{os.urandom(4).hex()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise UnavailableError(
            f"cannot write {path}: {error.strerror}", "free space or choose another place with --output"
        ) from error
    finally:
        # Whatever hinders this (a read-only disk, a folder that is gone) is what the block failed by already.
        with suppress(OSError):
            temporary.unlink()
