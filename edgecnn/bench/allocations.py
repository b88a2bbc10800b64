"""What malloc of the GNU C library has handed out: exact where the kernel's counters of a process are not.

The kernel counts resident pages in batches, one for each processor (percpu_counter, of at least 32 pages, since Linux 6.2;
before that 64 pages for each thread: Documentation/filesystems/proc.rst calls VmRSS "not very precise"), and the high-water
mark VmHWM is taken from what has been handed in. A peak of a small network, of a few dozen pages, is not seen at all.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PAGE_BYTES = 4096

# From a page on, an allocation is a mapping of its own (M_MMAP_THRESHOLD), as many as it takes (M_MMAP_MAX); the heap grows by
# no more than is asked for (M_TOP_PAD), and its top goes back at once (M_TRIM_THRESHOLD): malloc.h.
_GIVE_BACK = ((-3, PAGE_BYTES), (-4, 1 << 20), (-2, 0), (-1, 0))

# The header of a mapping, and the alignment to 64 bytes that engines ask for.
_AROUND = 128

_LARGEST_HOLE, _SMALLEST_HOLE = 1 << 24, PAGE_BYTES
_MOST = re.compile(rb"max mmap bytes\s*=\s*(\d+)")


class _Info(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def keep_nothing_free() -> bool:
    """Have the C library give memory back to the kernel when it is freed, from now on; return whether it does.

    Freed memory otherwise stays in the process for later allocations, so that its size tells what was once needed and not
    what is needed at a time. Allocation becomes slow. (mallopt(3), of the GNU C library alone.)
    """
    try:
        library = ctypes.CDLL(None)
        found = [library.mallopt(option, value) == 1 for option, value in _GIVE_BACK]
        return all(found)
    except (OSError, AttributeError, TypeError):
        return False


def mapped_bytes(size: int) -> int:
    """Return what an allocation takes after `keep_nothing_free`: whole pages from a page on.

    Args:
        size: that is asked for.
    """
    return size if size < PAGE_BYTES else -(-(size + _AROUND) // PAGE_BYTES) * PAGE_BYTES


class Allocations:
    """Tells how much a call holds at a time beyond what was there before; after `keep_nothing_free`.

    Counted are allocations of a page and more, with the rounding to pages. Those that the call makes and keeps count as well.

    Raises:
        OSError: this is no GNU C library of version 2.33 or newer.
    """

    def __init__(self) -> None:
        try:
            library: Any = ctypes.CDLL(None)
            library.mallinfo2.restype = _Info
            library.malloc.restype = ctypes.c_void_p
            library.malloc.argtypes = (ctypes.c_size_t,)
            library.free.argtypes = (ctypes.c_void_p,)
            library.malloc_stats.restype = None
        except (AttributeError, TypeError) as error:
            raise OSError(f"no malloc of the GNU C library: {error}") from error
        self._library = library

    def peak_bytes(self, call: Callable[[], object]) -> int | None:
        """Return the most that a call holds at a time; None where the library does not tell.

        The library keeps the most of all time. A block that is asked for and never touched, and takes no memory therefore,
        lifts what is held now up to that, so that the call sets a new mark from its first page on.
        """
        most = self._most_mapped()
        # Only now: the file that this is read from leaves a hole itself.
        holes = self.take_holes()
        block = None
        try:
            if most is None:
                return None
            block = self._library.malloc(max(most - self._mapped(), 0) + _LARGEST_HOLE)
            before = self._mapped()
            call()
            after = self._most_mapped()
            return None if after is None else max(0, after - before)
        finally:
            for hole in (*holes, block):
                self._library.free(hole)

    def _mapped(self) -> int:
        """Return the bytes of allocations that are mappings of their own."""
        return int(self._library.mallinfo2().hblkhd)

    def take_holes(self) -> list[int]:
        """Take all free blocks of a page and more inside of the heap, which hide what is allocated next; return them."""
        taken = []
        size = _LARGEST_HOLE
        while size >= _SMALLEST_HOLE:
            before = self._mapped()
            block = self._library.malloc(size)
            if block and self._mapped() == before:
                taken.append(block)
            else:
                self._library.free(block)
                size //= 2
        return taken

    def _most_mapped(self) -> int | None:
        """Return the most that mappings have held, which malloc_stats(3) alone tells, on standard error."""
        with tempfile.TemporaryFile() as file:
            sys.stderr.flush()
            kept = os.dup(2)
            os.dup2(file.fileno(), 2)
            try:
                self._library.malloc_stats()
            finally:
                os.dup2(kept, 2)
                os.close(kept)
            file.seek(0)
            found = _MOST.search(file.read())
        return int(found[1]) if found else None


def peak_allocated(call: Callable[[], object]) -> int | None:
    """Return the most bytes that a call holds at a time, see `Allocations`; None where that cannot be told.

    Args:
        call: is called once where it can be told; after `keep_nothing_free`.
    """
    with suppress(OSError):
        return Allocations().peak_bytes(call)
    return None
