"""Memory of this process, as the Linux kernel counts it.

`getrusage` is not used: its ru_maxrss survives exec, so that a child starts with its parent's peak.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgecnn.procfs import read_integer, read_text
from edgecnn.runtimes.threads import cgroup_directories

_STATUS = "proc/self/status"
_CLEAR_REFS = "proc/self/clear_refs"
_ROLLUP = "proc/self/smaps_rollup"

# Writing 5 resets VmHWM to VmRSS: Linux, Documentation/filesystems/proc.rst, /proc/PID/clear_refs.
_RESET_PEAK = b"5"

# Version 2 and version 1 of control groups: admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst.
_CGROUP_PEAKS = ("memory.peak", "memory.max_usage_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a process holds.

    Attributes:
        resident_bytes: now (VmRSS).
        peak_bytes: most since the start or the last reset (VmHWM).
        file_bytes: of the resident ones those that are pages of files (RssFile): code, and files that are mapped; None
            where the kernel does not tell.
    """

    resident_bytes: int
    peak_bytes: int
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Memory at the end of a phase of a measurement.

    Attributes:
        resident_bytes: at its end.
        peak_bytes: most during the phase; None where it cannot be told.
        file_bytes: as in `Memory`, at its end.
    """

    resident_bytes: int
    peak_bytes: int | None
    file_bytes: int | None = None


class PhaseMeter:
    """Tells the memory of one phase after the other; a phase begins where the one before ended.

    Args:
        root: of the tree that holds /proc.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._was_reset = False
        self._begin: Memory | None = None
        self.restart()

    def restart(self) -> None:
        """Let a phase begin now; what happened since the last one ended belongs to none."""
        self._was_reset = reset_peak(self._root)
        self._begin = read_memory(self._root)

    def end(self) -> Phase | None:
        """Return the memory of the phase that ends here, None where it cannot be read, and begin the next."""
        now, begin, was_reset = read_memory(self._root), self._begin, self._was_reset
        self.restart()
        if now is None:
            return None
        peak = None if begin is None else peak_since(begin, now, was_reset=was_reset)
        return Phase(resident_bytes=now.resident_bytes, peak_bytes=peak, file_bytes=now.file_bytes)


def read_memory(root: Path = Path("/")) -> Memory | None:
    """Return the memory of this process, None where there is no /proc/self/status with VmRSS and VmHWM.

    Args:
        root: of the tree that holds /proc.
    """
    fields = _fields(root / _STATUS)
    resident, peak = _kilobytes(fields.get("VmRSS")), _kilobytes(fields.get("VmHWM"))
    if resident is None or peak is None:
        return None
    return Memory(resident_bytes=resident, peak_bytes=peak, file_bytes=_kilobytes(fields.get("RssFile")))


def read_pss(root: Path = Path("/")) -> int | None:
    """Return the proportional set size in bytes: a page that n processes share counts as an n-th. None where unknown.

    The kernel walks every page for it, which takes milliseconds.

    Args:
        root: of the tree that holds /proc.
    """
    return _kilobytes(_fields(root / _ROLLUP).get("Pss"))


def read_anonymous(root: Path = Path("/")) -> int | None:
    """Return the resident bytes that are no pages of files, exactly; None where unknown.

    VmRSS and its parts may be off by some dozen pages for each processor (proc_pid_statm(5)); this walks every page.

    Args:
        root: of the tree that holds /proc.
    """
    return _kilobytes(_fields(root / _ROLLUP).get("Anonymous"))


def read_cgroup_peak(root: Path = Path("/")) -> int | None:
    """Return the most that all processes of this container held since it began, page cache included; None where unknown.

    Args:
        root: of the tree that holds /proc and /sys.
    """
    for folder in cgroup_directories(root, "memory"):
        for name in _CGROUP_PEAKS:
            peak = read_integer(folder / name)
            if peak is not None:
                return peak
    return None


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return how much more memory processes here can take without swapping, None where it cannot be told.

    The kernel's estimate (MemAvailable: Linux, Documentation/filesystems/proc.rst, meminfo), or what the container's limit
    leaves where that is less.

    Args:
        root: of the tree that holds /proc and /sys.
    """
    found = [_kilobytes(_fields(root / "proc/meminfo").get("MemAvailable"))]
    for folder in cgroup_directories(root, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = read_integer(folder / limit_name), read_integer(folder / used_name)
            if limit is not None and used is not None:
                found.append(max(0, limit - used))
    return min((size for size in found if size is not None), default=None)


def reset_peak(root: Path = Path("/")) -> bool:
    """Set the peak back to what is resident now; return whether the kernel did."""
    try:
        file = os.open(root / _CLEAR_REFS, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(file, _RESET_PEAK)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def peak_since(baseline: Memory, now: Memory, *, was_reset: bool) -> int | None:
    """Return the peak since the baseline in bytes, None where it cannot be told.

    Without a reset the counter still holds an earlier peak: a greater value now was reached since, an equal one proves
    nothing.
    """
    if was_reset or now.peak_bytes > baseline.peak_bytes:
        return now.peak_bytes
    return None


def _fields(path: Path) -> dict[str, str]:
    """Return the "name: value" lines of a file of /proc."""
    return dict(line.partition(":")[::2] for line in (read_text(path) or "").splitlines())


def _kilobytes(field: str | None) -> int | None:
    """Return bytes of a "  1234 kB" field."""
    words = (field or "").split()
    if len(words) != 2 or words[1] != "kB" or not words[0].isdigit():
        return None
    return int(words[0]) * 1024
