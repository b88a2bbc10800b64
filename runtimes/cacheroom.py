"""How much room the cache takes: after a write, what was not used for longest goes until it fits its limit.

The limit belongs to the folder, so that all processes that share the folder keep to one. When an entry was used is what the
system keeps of its files: the later of access and change. With the mount option `relatime`, the default of Linux, that is
right to a day; with `noatime` it is when the entry was made.

What a process has open stays readable for it until it closes it. Whoever is about to open an entry that goes meanwhile makes
it again, as with a damaged one. An entry whose lock is held is being made and stays, and so does what was used a moment ago.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import UnavailableError
from edgecnn.files import replacing
from edgecnn.numbers import check_whole
from edgecnn.runtimes.cache import default_folder
from edgecnn.runtimes.privatefiles import CACHE_HINT, check_private, locked, remove

MOST_BYTES = 4 << 30
"""The limit of a folder that has none of its own, on a file system where a tenth of all room is more than that."""

JUST_USED_S = 600
"""What was used within so many seconds stays, so that nobody who opens it has to make it twice."""

_SHARE_OF_DISK = 10
_LONGEST_BUILD_S = 86_400
_LIMIT = "limit"

# Files of an entry: its digest first, behind a dot while they are written; see `edgecnn.runtimes.cache`.
_OF_ENTRY = re.compile(r"\.?([0-9a-f]{40})(?:[.-]|$)")

# Folders in which ONNX Runtime's TensorRT provider keeps engines; see `edgecnn.runtimes.ort.trtcache`.
_ENGINES = "ort-trt-"
_TIMINGS = "ort-trt-timing-"
_MARK = "-ort-trt.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One entry, as far as its room goes.

    Attributes:
        digest: of its key; None for a folder of TensorRT's provider that no entry names.
        paths: its files and folders, the lock not among them.
        size_bytes: of all of them.
        used_ns: when it was last used, since 1970.
    """

    digest: str | None
    paths: tuple[Path, ...]
    size_bytes: int
    used_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a cache folder takes.

    Attributes:
        folder: which.
        entries: how many.
        size_bytes: of all of them.
        limit_bytes: that it keeps to after each write.
        kinds: kind of entry, "optimised model" for example -> bytes.
    """

    folder: Path
    entries: int
    size_bytes: int
    limit_bytes: int
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What was removed.

    Attributes:
        entries: how many.
        size_bytes: of them.
        left: entries that another process is making, or may be.
    """

    entries: int
    size_bytes: int
    left: int


def limit_bytes(folder: Path | None = None) -> int:
    """Return how much a cache folder may take: what `set_limit` said, else a tenth of its file system, at most MOST_BYTES."""
    folder = folder or default_folder()
    try:
        return int((folder / _LIMIT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        pass
    for existing in (folder, *folder.parents):
        with suppress(OSError):
            status = os.statvfs(existing)
            return min(MOST_BYTES, status.f_blocks * status.f_frsize // _SHARE_OF_DISK)
    return MOST_BYTES


def set_limit(size_bytes: int | None, folder: Path | None = None) -> None:
    """Say how much a cache folder may take, for all processes that use it; None for what `limit_bytes` takes by itself.

    Raises:
        BadInput: less than 0.
        UnavailableError: the folder is not private or cannot be written to.
    """
    folder = folder or default_folder()
    if size_bytes is None:
        remove(folder / _LIMIT)
        return
    check_whole("limit in bytes", size_bytes, low=0)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    check_private(folder, folder.stat())
    with replacing(folder / _LIMIT) as unfinished:
        unfinished.write_text(f"{size_bytes}\n", encoding="ascii")


def kept_in(folder: Path | None = None) -> tuple[Kept, ...]:
    """Return what a cache folder holds, the one that was not used for longest first; contents are not read.

    Raises:
        UnavailableError: the folder is not private, or cannot be read.
    """
    folder = folder or default_folder()
    try:
        check_private(folder, folder.stat())
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UnavailableError(f"cannot read the cache {folder}: {error.strerror}", CACHE_HINT) from error
    groups: dict[str, list[Path]] = {}
    for path in paths:
        found = _OF_ENTRY.match(path.name)
        if found and path.suffix != ".lock":
            groups.setdefault(found[1], []).append(path)
    engines = {path.name: path for path in paths if path.name.startswith(_ENGINES) and path.is_dir()}
    for group in groups.values():
        group += [engines.pop(name) for name in _engines_of(group) if name in engines]
    kept = [_kept(digest, group) for digest, group in groups.items()]
    kept += [_kept(None, [path]) for path in engines.values()]
    return tuple(sorted(kept, key=lambda one: (one.used_ns, one.paths)))


def usage(folder: Path | None = None) -> Usage:
    """Return what a cache folder takes; raises as `kept_in`."""
    folder = folder or default_folder()
    kept = kept_in(folder)
    kinds: dict[str, int] = {}
    for one in kept:
        kind = _kind_of(one)
        kinds[kind] = kinds.get(kind, 0) + one.size_bytes
    return Usage(
        folder=folder,
        entries=len(kept),
        size_bytes=sum(kinds.values()),
        limit_bytes=limit_bytes(folder),
        kinds=dict(sorted(kinds.items())),
    )


def _kind_of(one: Kept) -> str:
    """Return what an entry is by its manifest."""
    for path in one.paths:
        if path.suffix == ".json" and _OF_ENTRY.fullmatch(path.stem):
            key = _json_of(path).get("key")
            if isinstance(key, Mapping):
                return str(key.get("kind") or key.get("what") or "unknown")
    return "ort-trt" if one.digest is None else "unfinished"


def make_room(folder: Path, *, keep: Iterable[Path] = (), limit: int | None = None, now_ns: int | None = None) -> int:
    """Remove what was not used for longest until a folder fits its limit; return how many entries went.

    Nothing is raised: whatever hinders this, the next write tries again.

    Args:
        folder: the cache's.
        keep: files whose entries stay, those just written.
        limit: bytes; None is `limit_bytes`.
        now_ns: since 1970; None is now.
    """
    gone = 0
    with suppress(OSError, UnavailableError):
        allowed = limit_bytes(folder) if limit is None else limit
        before_ns = (time.time_ns() if now_ns is None else now_ns) - JUST_USED_S * 1_000_000_000
        kept, spared = kept_in(folder), {path.name for path in keep}
        excess = sum(one.size_bytes for one in kept) - allowed
        for one in kept:
            if excess <= 0:
                break
            fresh = one.used_ns > before_ns or any(path.name in spared for path in one.paths)
            if not fresh and _removed(folder, one, before_ns):
                excess -= one.size_bytes
                gone += 1
        if gone:
            _drop_tickets(folder)
    return gone


def clear(folder: Path | None = None) -> Cleared:
    """Remove all entries of a cache but those that another process is making now; the limit stays.

    Raises:
        UnavailableError: the folder is not private, or cannot be read or written to.
    """
    folder = folder or default_folder()
    kept = kept_in(folder)
    try:
        removed = [one for one in kept if _removed(folder, one, time.time_ns())]
        _drop_tickets(folder)
    except OSError as error:
        raise UnavailableError(f"cannot write to the cache {folder}: {error.strerror}", CACHE_HINT) from error
    size = sum(one.size_bytes for one in removed)
    return Cleared(entries=len(removed), size_bytes=size, left=len(kept) - len(removed))


def _kept(digest: str | None, paths: list[Path]) -> Kept:
    size, used_ns = 0, 0
    for path in paths:
        # What goes while this looks is passed over: os.walk says nothing of folders that it cannot read.
        below = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        for file in (path, *below):
            with suppress(OSError):
                status = file.lstat()
                size += status.st_size
                # Not of those that are read here to see what there is: folders and manifests.
                is_read = not stat.S_ISDIR(status.st_mode) and file.suffix != ".json"
                used_ns = max(used_ns, status.st_mtime_ns, status.st_atime_ns if is_read else 0)
    return Kept(digest=digest, paths=tuple(paths), size_bytes=size, used_ns=used_ns)


def _engines_of(paths: Iterable[Path]) -> list[str]:
    return [str(_json_of(path).get("folder")) for path in paths if path.name.endswith(_MARK)]


def _json_of(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, Mapping) else {}


def _removed(folder: Path, one: Kept, before_ns: int) -> bool:
    """Remove an entry unless its lock is held; return whether it is gone."""
    if one.digest is None:
        # An older edgecnn may be building in it, and there is no lock to ask for.
        unused_ns = before_ns - one.used_ns
        if not one.paths[0].name.startswith(_TIMINGS) and unused_ns < _LONGEST_BUILD_S * 1_000_000_000:
            return False
        remove(one.paths[0])
        return True
    try:
        with locked(folder / f"{one.digest}.lock", wait=False):
            # The manifest goes first: without it the rest counts for nothing.
            for path in sorted(one.paths, key=lambda path: path.suffix != ".json"):
                remove(path)
    except BlockingIOError:
        return False
    return True


def _drop_tickets(folder: Path) -> None:
    """Remove what remembers optimised models that are gone; see `edgecnn.runtimes.ort.optimised`."""
    for ticket in folder.glob("*.ticket"):
        name = _json_of(ticket).get("optimised")
        if isinstance(name, str) and not (folder / Path(name).name).is_file():
            ticket.unlink(missing_ok=True)
