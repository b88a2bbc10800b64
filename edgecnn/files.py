"""Writing files so that nothing half-written is ever left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
from pathlib import Path

from edgecnn.errors import UnavailableError


def cache_root() -> Path:
    """Return the folder of what can be made or fetched again: edgecnn in $XDG_CACHE_HOME, or else in ~/.cache."""
    # The XDG Base Directory Specification has relative paths ignored.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "edgecnn"


def check_folder_takes(folder: Path, *, option: str = "--output", told: Path | None = None) -> None:
    """Return if files can be written into a folder; what was not there before is not there afterwards.

    Args:
        folder: made by those who write, where it is not there.
        option: of the command line that names it.
        told: what the error says cannot be written, by default the folder.

    Raises:
        UnavailableError: it cannot be made, or not be written to.
    """
    # Where it is not there yet, what it would be made in is tried: another process may be making it at this moment.
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    trial = there / f".{os.urandom(4).hex()}"
    try:
        trial.touch()
    except OSError as error:
        raise _cannot_write(told or folder, error, option) from error
    finally:
        with suppress(OSError):
            trial.unlink()


def check_writable(path: Path, *, option: str = "--output") -> Path:
    """Return the path of a file that `replacing` can write, as far as that can be told before; nothing is left behind.

    Args:
        path: of the file; its folder is made by `replacing`, where it is not there.
        option: of the command line that names it.

    Raises:
        UnavailableError: it is a folder, or the folder that it lies in cannot be made or written to.
    """
    if path.is_dir():
        raise _cannot_write(path, IsADirectoryError(EISDIR, os.strerror(EISDIR)), option)
    check_folder_takes(path.parent, option=option, told=path)
    return path


@contextmanager
def replacing(path: Path, *, option: str = "--output") -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes `path` in one step if the block ends well.

    The temporary has the same suffix, and is removed if the block raises, an interruption included. Missing folders
    are made.

    Args:
        path: of the file.
        option: of the command line that names it.

    Raises:
        UnavailableError: the disk is full, the path is a folder, or the folder it lies in cannot be written to.
    """
    if path.is_dir():
        raise _cannot_write(path, IsADirectoryError(EISDIR, os.strerror(EISDIR)), option)
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
        raise _cannot_write(path, error, option) from error
    finally:
        # Whatever hinders this (a read-only disk, a folder that is gone) is what the block failed by already.
        with suppress(OSError):
            temporary.unlink()


def _cannot_write(path: Path, error: OSError, option: str) -> UnavailableError:
    return UnavailableError(
        f"cannot write {path}: {error.strerror}", f"free space or choose another place with {option}"
    )
