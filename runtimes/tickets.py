"""What is remembered about files that were read as a whole, so that they need not be read again while they stay.

A ticket is a small file in the cache's folder. It holds what the system says about a file (device, inode, size, times) from
before it was read. A file that is written to, replaced or given back its old mtime has another ctime, which no program can
set; and a file that changed within the granularity of these times before it was read gets no ticket. So a ticket that fits
means the same content, as long as nobody turns the clock back or writes to the disk below the file system.
"""

from __future__ import annotations

import json
import os
import stat
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgecnn.errors import EdgecnnError

# No file system in use keeps times more coarsely than FAT, 2 s.
_SETTLED_NS = 2_000_000_000


class Ticket:
    """One thing that is remembered.

    Args:
        folder: the cache's.
        about: what it is about, plain JSON values.
    """

    def __init__(self, folder: Path, about: Any) -> None:
        self._text = json.dumps(about, sort_keys=True)
        self._folder = folder
        # Two that share a check sum take turns: what the file is for stands in it.
        self._file = folder / f"{zlib.crc32(self._text.encode()):08x}.ticket"

    def read(self) -> dict[str, Any] | None:
        """Return what was written; None where there is nothing, or others may have written it."""
        try:
            if not is_own(self._folder.stat()) or not is_own(self._file.lstat()):
                return None
            kept = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return None
        return kept if isinstance(kept, dict) and kept.get("for") == self._text else None

    def write(self, content: dict[str, Any]) -> None:
        """Remember plain JSON values, in a folder that exists; where that cannot be, do nothing."""
        from edgecnn.files import replacing  # noqa: PLC0415 (who reads a ticket does not need it)

        # Without a ticket the next process is a little slower, no more.
        with suppress(OSError, EdgecnnError):
            if is_own(self._folder.stat()):
                with replacing(self._file) as temporary:
                    temporary.write_text(json.dumps({"for": self._text, **content}), encoding="utf-8")


def identity(path: Path) -> list[int] | None:
    """Return device, inode, size, mtime_ns and ctime_ns of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def is_settled(found: list[int]) -> bool:
    """Tell whether a file of this identity has been as it is for so long that no later change can go unseen."""
    return time.time_ns() - max(found[-2:]) >= _SETTLED_NS


def is_own(status: os.stat_result) -> bool:
    """Tell whether a file or folder, no link, belongs to this user and nobody else may write to it."""
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.geteuid() and not shared and not stat.S_ISLNK(status.st_mode)
