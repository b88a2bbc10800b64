"""What takes long to make, an optimised model or a built engine, kept in a private folder between processes.

An entry is a file that lies beside a manifest of its key and SHA-256, both checked whenever it is read. One lock per key:
of many processes that want the same entry one makes it and the others wait. A process that is killed at any point leaves
an entry that is whole, or one that the next process makes again. Cached engines are executable code, so the folder must
belong to this user and nobody else may write to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import UnavailableError
from edgecnn.files import cache_root
from edgecnn.jsonform import to_json
from edgecnn.runtimes.privatefiles import CACHE_HINT, check_private, locked, own_sha256, remove, sync

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from edgecnn.values import dataclass

Key = Mapping[str, Any]
"""What an entry depends on: names and plain JSON values, nested ones as well; NaN and infinities are none."""

_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One entry of a cache.

    Attributes:
        name: the file's name without the digest before it.
        key: what it was made for.
        path: the file.
        size_bytes: of the file.
    """

    name: str
    key: Mapping[str, Any]
    path: Path
    size_bytes: int


def default_folder() -> Path:
    """Return the folder of entries where none is given: edgecnn/runtimes in $XDG_CACHE_HOME, or else in ~/.cache.

    It is a folder of its own below edgecnn's, because that one has the rights that the user's umask gives.
    """
    return cache_root() / "runtimes"


class Cache:
    """Files by what they were made from.

    Args:
        folder: where they lie; made with the first entry, for this user alone. None is `default_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def get(self, key: Key) -> Path | None:
        """Return the file of a whole entry; None where there is none or it is damaged.

        Raises:
            UnavailableError: the folder is not private.
        """
        if not self._is_there():
            return None
        return self._whole(_Files(self.folder, key))

    def get_or_make(self, key: Key, name: str, make: Callable[[Path], None]) -> Path:
        """Return the file of an entry, made now unless a whole one is there.

        Args:
            key: what the entry depends on, all of it.
            name: a file name for people and for engines that look at the suffix; no part of the key.
            make: writes the file to the path that it gets, whose name is a dot and what the file will be called. While it
                runs, other processes and threads that want this entry wait.

        Raises:
            UnavailableError: the folder is not private or cannot be written to, or the disk is full.
            Exception: whatever `make` raises; nothing is kept then.
        """
        files = _Files(self.folder, key)
        found = self._whole(files) if self._is_there() else None
        if found is not None and found.name == files.content(name).name:
            return found
        with self._writing(), locked(files.lock):
            found = self._whole(files)
            if found is not None and found.name == files.content(name).name:
                return found
            made = _write(files, name, make)
        return self._with_room_for(made)

    def put(self, key: Key, name: str, make: Callable[[Path], None]) -> Path:
        """Return the file of an entry that is made now in any case; `make` may read the one before with `get`.

        Raises:
            UnavailableError: as `get_or_make`.
        """
        files = _Files(self.folder, key)
        with self._writing(), locked(files.lock):
            made = _write(files, name, make)
        return self._with_room_for(made)

    def drop(self, key: Key) -> None:
        """Remove an entry; without one, do nothing.

        Raises:
            UnavailableError: the folder is not private or cannot be written to.
        """
        if self._is_there():
            files = _Files(self.folder, key)
            with self._writing(), locked(files.lock):
                files.manifest.unlink(missing_ok=True)
                for path in files.contents():
                    path.unlink(missing_ok=True)

    def entries(self) -> tuple[CacheEntry, ...]:
        """Return what is kept, by file name; contents are not read.

        Raises:
            UnavailableError: the folder is not private.
        """
        if not self._is_there():
            return ()
        found = []
        for path in sorted(self.folder.glob("*.json")):
            manifest = _read_manifest(path)
            content = self.folder / f"{path.stem}-{manifest['name']}" if manifest else None
            if manifest and content and content.is_file():
                size = content.stat().st_size
                found.append(CacheEntry(name=manifest["name"], key=manifest["key"], path=content, size_bytes=size))
        return tuple(found)

    def size_bytes(self) -> int:
        """Return how many bytes all entries take."""
        return sum(entry.size_bytes for entry in self.entries())

    def _with_room_for(self, made: Path) -> Path:
        """Return what was made, after others have made room for it where the folder is over its limit."""
        from edgecnn.runtimes.cacheroom import make_room  # noqa: PLC0415 (not for those who find what they want)

        make_room(self.folder, keep=[made])
        return made

    def _is_there(self) -> bool:
        """Return whether the folder exists, private; an unsafe one raises."""
        try:
            status = self.folder.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnavailableError(f"cannot read the cache {self.folder}: {error.strerror}", CACHE_HINT) from error
        check_private(self.folder, status)
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the folder, and name it in whatever the system refuses inside the block."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            check_private(self.folder, self.folder.stat())
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise UnavailableError(f"cannot write to the cache {self.folder}: {error.strerror}", CACHE_HINT) from error

    @staticmethod
    def _whole(files: _Files) -> Path | None:
        manifest = _read_manifest(files.manifest)
        if manifest is None or manifest["key"] != files.key:
            return None
        path = files.content(manifest["name"])
        return path if own_sha256(path) == manifest["sha256"] else None


class _Files:
    """The paths of one entry."""

    def __init__(self, folder: Path, key: Key) -> None:
        import hashlib  # noqa: PLC0415 (it loads OpenSSL, which opening a model of the cache does not need)

        text = json.dumps(to_json(key), sort_keys=True, separators=(",", ":"), allow_nan=False)
        self.key: dict[str, Any] = json.loads(text)
        self._folder = folder
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:40]
        self.lock = folder / f"{self._digest}.lock"
        self.manifest = folder / f"{self._digest}.json"

    def content(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a cache entry cannot be named {name!r}")
        return self._folder / f"{self._digest}-{name}"

    def unfinished(self, path: Path) -> Path:
        """Return where a file is written before it gets its name; the same each time, so that nothing piles up."""
        return path.with_name(f".{path.name}")

    def contents(self) -> list[Path]:
        """Return all that is there besides manifest and lock: contents of any name, and what a killed process left."""
        return [*self._folder.glob(f"{self._digest}-*"), *self._folder.glob(f".{self._digest}*")]


def _write(files: _Files, name: str, make: Callable[[Path], None]) -> Path:
    """Make an entry; the lock is held. The content comes first: without a fitting manifest it counts for nothing."""
    path = files.content(name)
    unfinished = files.unfinished(path)
    remove(unfinished)
    try:
        make(unfinished)
        unfinished.chmod(0o600)
        sync(unfinished)
        manifest = {"schema": _SCHEMA, "name": name, "key": files.key, "sha256": own_sha256(unfinished)}
        unfinished.replace(path)
        _write_manifest(files, manifest)
    finally:
        with suppress(OSError):
            remove(unfinished)
    for other in files.contents():
        if other != path:
            remove(other)
    return path


def _write_manifest(files: _Files, manifest: Mapping[str, Any]) -> None:
    unfinished = files.unfinished(files.manifest)
    unfinished.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    unfinished.chmod(0o600)
    sync(unfinished)
    unfinished.replace(files.manifest)
    sync(files.manifest.parent)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest; None where it is missing, damaged or of another schema."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("schema") != _SCHEMA:
        return None
    fits = isinstance(manifest.get("key"), dict) and isinstance(manifest.get("sha256"), str)
    name = manifest.get("name")
    return manifest if fits and isinstance(name, str) and _NAME.fullmatch(name) else None
