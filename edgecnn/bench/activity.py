"""Who used the processors while we measured: this process, other processes, the hypervisor.

The load average is no answer: it looks back over minutes and so counts the measurement before this one. /proc/stat
counts what all processes used within the window, and the kernel's own figures for this process are taken off. Where a
container shows its host's /proc/stat, processes of the host count as others, which they are.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgecnn.procfs import read_text

_TICK_NS = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)

# Columns of the "cpu" line: Linux, Documentation/filesystems/proc.rst, section 1.7. User time contains guest time.
_USER, _NICE, _SYSTEM, _IDLE, _IOWAIT, _IRQ, _SOFTIRQ, _STEAL = range(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Counters at one moment, all in nanoseconds and rising.

    Attributes:
        own_ns: processor time of this process, all threads.
        busy_ns: of all processes on all processors, null off Linux.
        idle_ns: of all processors, null off Linux.
        stolen_ns: taken by the hypervisor, null off Linux.
        waited_ns: how long this thread was ready to run and had no processor, null where the kernel does not tell.
    """

    own_ns: int
    busy_ns: int | None = None
    idle_ns: int | None = None
    stolen_ns: int | None = None
    waited_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Use of the processors over a window.

    Attributes:
        seconds: length of the window.
        own_cores: processors that this process kept busy, on average.
        other_cores: processors that other processes kept busy, null where it cannot be told.
        stolen_cores: processors that the hypervisor took away, null where it cannot be told.
        waited_share: 0..1, part of the window in which the measuring thread waited for a processor, null where unknown.
    """

    seconds: float
    own_cores: float
    other_cores: float | None = None
    stolen_cores: float | None = None
    waited_share: float | None = None


def read_cpu_times(root: Path = Path("/")) -> CpuTimes:
    """Return the counters now.

    Args:
        root: of the tree that holds /proc.
    """
    columns = _first_line(root / "proc/stat")
    known = len(columns) > _STEAL and columns[0] == "cpu" and all(word.isdigit() for word in columns[1 : _STEAL + 2])
    ticks = [int(word) * _TICK_NS for word in columns[1 : _STEAL + 2]] if known else None
    waited = _first_line(root / "proc/thread-self/schedstat")
    return CpuTimes(
        own_ns=time.process_time_ns(),
        busy_ns=sum(ticks[i] for i in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ)) if ticks else None,
        idle_ns=ticks[_IDLE] + ticks[_IOWAIT] if ticks else None,
        stolen_ns=ticks[_STEAL] if ticks else None,
        waited_ns=int(waited[1]) if len(waited) >= 2 and waited[1].isdigit() else None,
    )


def activity_between(before: CpuTimes, after: CpuTimes, *, elapsed_ns: int) -> Activity | None:
    """Return the use of the processors between two readings, None for an empty window.

    Args:
        before: counters at the start.
        after: counters at the end.
        elapsed_ns: time between them.
    """
    if elapsed_ns <= 0:
        return None
    own = (after.own_ns - before.own_ns) / elapsed_ns
    busy, idle = _rate(before.busy_ns, after.busy_ns, elapsed_ns), _rate(before.idle_ns, after.idle_ns, elapsed_ns)
    # Sandboxes that emulate /proc leave all counters at zero: that is not an idle machine.
    known = busy is not None and idle is not None and busy + idle > 0
    return Activity(
        seconds=elapsed_ns / 1e9,
        own_cores=own,
        other_cores=max(0.0, busy - own) if known and busy is not None else None,
        stolen_cores=_rate(before.stolen_ns, after.stolen_ns, elapsed_ns) if known else None,
        waited_share=_rate(before.waited_ns, after.waited_ns, elapsed_ns),
    )


def _rate(before: int | None, after: int | None, elapsed_ns: int) -> float | None:
    return None if before is None or after is None else max(0, after - before) / elapsed_ns


def _first_line(path: Path) -> list[str]:
    return (read_text(path) or "").partition("\n")[0].split()
