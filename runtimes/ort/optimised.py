"""Models as ONNX Runtime has optimised them, kept between processes, so that a later session is opened without that work.

An optimised file holds the layout of one kind of processor and operators of one version of the engine: it is good for
nothing elsewhere, and its key says for what it is. A file gives the same answers, bit for bit, as the model that it was
made from.

What is looked up must not cost what it saves, and reading two files for their SHA-256 costs as much as optimising a small
network. So a ticket remembers by the system's data about both files (device, inode, size, times) that they were read and
fitted; as long as these stay, neither is read for more than loading it. Whatever writes to a file changes its ctime, and
a file that changed within the granularity of these times before it was read gets no ticket.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, EdgecnnError
from edgecnn.files import replacing
from edgecnn.procfs import read_text
from edgecnn.runtimes.cache import Cache
from edgecnn.specs import Scalar

MADE = "made"
FROM_CACHE = "from cache"

_NAME = "optimised.onnx"

# Entries that say how a graph is run and nothing about how it is rewritten.
_RUN_ONLY = (
    "session.intra_op",
    "session.force_spinning_stop",
    "session.dynamic_block_base",
    "session.enable_mem_pattern",
)

# Of /proc/cpuinfo, what tells kinds of processors apart: x86, then Arm.
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")

# No file system in use keeps times more coarsely than FAT, 2 s.
_SETTLED_NS = 2_000_000_000

Opened = TypeVar("Opened")


def open_optimised(
    cache: Cache,
    model: Path,
    key: Mapping[str, Any],
    *,
    make: Callable[[Path], Opened],
    load: Callable[[Path], Opened],
) -> Opened:
    """Return what `load` gives for the optimised form of a model, or what `make` gives where it has to be made first.

    Args:
        cache: where optimised models are kept.
        model: the file.
        key: what an optimised form depends on besides the model's content, see `optimised_key`.
        make: opens the model and writes its optimised form to the path.
        load: opens the optimised form.

    Raises:
        UnavailableError: the cache's folder is not private or cannot be written to.
        BadInput: the model cannot be read.
        EdgecnnError: whatever `make` raises.
    """
    ticket = _Ticket(cache.folder, model, key)
    path = ticket.path()
    if path is not None:
        with suppress(BadInput):
            return load(path)
    before = _identity(model)
    whole_key = {**key, "model_sha256": _digest(model)}
    opened, path = _get_or_make(cache, whole_key, make, load)
    if before is not None and _identity(model) == before:
        ticket.write(before, path)
    else:
        # What was read for the digest and what was optimised may be two files.
        cache.drop(whole_key)
    return opened


def _get_or_make(
    cache: Cache, key: Mapping[str, Any], make: Callable[[Path], Opened], load: Callable[[Path], Opened]
) -> tuple[Opened, Path]:
    """Return what was opened, and the optimised file."""
    made: list[Opened] = []

    def write(path: Path) -> None:
        made[:] = [make(path)]

    path = cache.get_or_make(key, _NAME, write)
    if not made:
        with suppress(BadInput):
            return load(path), path
        # Whole, and yet the engine does not read it: what made it was no engine like this one.
        path = cache.put(key, _NAME, write)
    return made[0], path


def _digest(model: Path) -> str:
    try:
        return file_sha256(model)
    except OSError as error:
        raise BadInput(f"cannot read {model}: {error.strerror}", "export it again") from error


def optimised_key(engine: Any, entries: Mapping[str, Scalar], *, root: Path = Path("/")) -> dict[str, Any]:
    """Return what an optimised model depends on besides the model: engine, processor, level, entries that rewrite graphs.

    The number of threads is no part of it: the engine rewrites the same way for any.

    Args:
        engine: the module.
        entries: the session's configuration entries.
        root: folder that stands for "/".
    """
    return {
        "what": "optimised model",
        "engine": f"onnxruntime {engine.__version__}",
        "build": engine.get_build_info() if hasattr(engine, "get_build_info") else "",
        "cpu": cpu_kinds(root),
        "level": "all",
        "entries": {name: value for name, value in sorted(entries.items()) if not name.startswith(_RUN_ONLY)},
    }


def cpu_kinds(root: Path = Path("/")) -> tuple[str, ...]:
    """Return architecture and the kinds of processors of this machine, with the instructions they have.

    Where there is no /proc/cpuinfo, the architecture alone has to do.
    """
    kinds = set()
    for block in (read_text(root / "proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        found = {name.strip(): value.strip() for name, _, value in pairs}
        kinds.add(" / ".join(found.get(name, "") for name in _CPU_FIELDS))
    return (platform.machine(), *sorted(kinds))


class _Ticket:
    """What is remembered about one model and its optimised form, in a small file beside it."""

    def __init__(self, folder: Path, model: Path, key: Mapping[str, Any]) -> None:
        self._text = json.dumps([str(model.absolute()), key], sort_keys=True)
        self._folder = folder
        self._model = model
        # Two that share a check sum take turns: what the file is for stands in it.
        self._file = folder / f"{zlib.crc32(self._text.encode()):08x}.ticket"

    def path(self) -> Path | None:
        """Return the optimised file if it and the model are as they were; None where anything is in doubt."""
        try:
            if not _is_own(self._folder.stat()) or not _is_own(self._file.lstat()):
                return None
            kept = json.loads(self._file.read_bytes())
            path = self._folder / Path(kept["optimised"]).name
            fits = kept["for"] == self._text and kept["identities"] == [_identity(self._model), _identity(path)]
            return path if fits and _is_own(path.lstat()) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, model: list[int], path: Path) -> None:
        """Remember both files, unless the model is so new that it could still change unseen.

        Args:
            model: identity of the model from before it was read.
            path: the optimised file.
        """
        if time.time_ns() - max(model[-2:]) < _SETTLED_NS:
            return
        kept = {"for": self._text, "optimised": path.name, "identities": [model, _identity(path)]}
        # Without a ticket the next session is opened a little later, no more.
        with suppress(EdgecnnError), replacing(self._file) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")


def _identity(path: Path) -> list[int] | None:
    """Return device, inode, size, mtime_ns and ctime_ns of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _is_own(status: os.stat_result) -> bool:
    """Tell whether a file or folder, no link, belongs to this user and nobody else may write to it."""
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not shared and not stat.S_ISLNK(status.st_mode)
