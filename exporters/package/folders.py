"""Putting whole folders into place so that nothing half-written is ever seen or left behind."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, UnavailableError
from edgecnn.files import check_folder_takes
from edgecnn.specs import Artifact


def check_target(target: Path) -> None:
    """Return if `staging` and `place` can put a folder there, as far as that can be told before; nothing is left behind.

    Raises:
        UnavailableError: it cannot be made, or not be written to.
    """
    check_folder_takes(_home(target.absolute()), told=target)
    if target.is_dir():
        check_folder_takes(target)


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yield an empty folder on the file system of `target`; it is removed at the end, whatever happens.

    It lies beside `target`, so that a server that watches `target` never sees it; inside, where `target` is a mount of its
    own. Missing folders above `target` are made, and removed again, `target` as well if it is empty, if the block raises.

    Raises:
        UnavailableError: the disk is full, or the folder cannot be written to.
    """
    target = target.absolute()
    made = [folder for folder in (target, *target.parents) if not folder.exists()]
    stage = _home(target) / f".{target.name}.{secrets.token_hex(4)}"
    try:
        stage.mkdir(parents=True)
        yield stage
    except BaseException as error:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError) and error.errno is not None:
            raise UnavailableError(
                f"cannot write {target}: {error.strerror}", "free space or choose another place with --output"
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def place(moves: Sequence[tuple[Path, Path]], *, stage: Path, replace_folders: bool = False) -> None:
    """Move files and folders to where they belong, all or none.

    Args:
        moves: source and target of each; a file that is at a target goes away.
        stage: the folder of `staging`, where replaced things wait until all is done.
        replace_folders: let folders that are at a target go away as well.

    Raises:
        BadInput: somebody else made a folder that was not there when the moves were planned.
    """
    done: list[tuple[Path, Path]] = []
    try:
        for number, (source, target) in enumerate(moves):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and not replace_folders:
                raise BadInput(f"{target} has come to be in the meantime", "run it again")
            if target.exists() or target.is_symlink():
                kept = stage / f"replaced.{number}"
                target.rename(kept)
                done.append((target, kept))
            source.rename(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        raise


def copy_model(artifact: Artifact, target: Path) -> None:
    """Copy a model file and see that the copy is what was looked at.

    Raises:
        BadInput: the file has changed since it was opened.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(artifact.path, target)
    _flush(target)
    if artifact.sha256 is not None and file_sha256(target) != artifact.sha256:
        raise BadInput(f"{artifact.path} changed while it was copied", "run it again when nobody writes to it")


def write_file(path: Path, text: str) -> None:
    """Write a text file, UTF-8 with line feeds, that is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    _flush(path)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _home(target: Path) -> Path:
    """Return the folder that the stage lies in."""
    return target if _is_mount(target) else target.parent


def _is_mount(folder: Path) -> bool:
    return folder.is_dir() and folder.stat().st_dev != folder.parent.stat().st_dev
