"""Memory of this process, as the Linux kernel counts it.

`getrusage` is not used: its ru_maxrss survives exec, so that a child starts with its parent's peak.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgecnn.procfs import read_text

_STATUS = "proc/self/status"
_CLEAR_REFS = "proc/self/clear_refs"

# Writing 5 resets VmHWM to VmRSS: Linux, Documentation/filesystems/proc.rst, /proc/PID/clear_refs.
_RESET_PEAK = b"5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a process holds.

    Attributes:
        resident_bytes: now (VmRSS).
        peak_bytes: most since the start or the last reset (VmHWM).
    """

    resident_bytes: int
    peak_bytes: int


def read_memory(root: Path = Path("/")) -> Memory | None:
    """Return the memory of this process, None where there is no /proc/self/status with VmRSS and VmHWM.

    Args:
        root: of the tree that holds /proc.
    """
    text = read_text(root / _STATUS) or ""
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    resident, peak = _kilobytes(fields.get("VmRSS")), _kilobytes(fields.get("VmHWM"))
    if resident is None or peak is None:
        return None
    return Memory(resident_bytes=resident, peak_bytes=peak)


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


def _kilobytes(field: str | None) -> int | None:
    """Return bytes of a "  1234 kB" field."""
    words = (field or "").split()
    if len(words) != 2 or words[1] != "kB" or not words[0].isdigit():
        return None
    return int(words[0]) * 1024
