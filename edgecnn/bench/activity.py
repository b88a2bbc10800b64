"""Who used the processors while we measured: this process, other processes, the hypervisor.

    use = use_between(counters before, counters after)      one window
    activity_of(uses of all windows)                        their counts are added up before they are divided

The load average is no answer: it looks back over minutes and so counts the measurement before this one. /proc/stat
counts what all processes used within the window, and the kernel's own figures for this process are taken off. Where a
container shows its host's /proc/stat, processes of the host count as others, which they are.

/proc/stat counts ticks, of 10 ms mostly: what a processor did last counts a whole tick too much or too little in a window. What
many windows leave open thereby is `Activity.resolution_cores`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecnn.procfs import read_text

_TICK_NS = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)

# Columns of the "cpu" line: Linux, Documentation/filesystems/proc.rst, section 1.7. User time contains guest time.
_USER, _NICE, _SYSTEM, _IDLE, _IOWAIT, _IRQ, _SOFTIRQ, _STEAL = range(8)

_SURE = 3.0
# Standard deviations beyond which it was not the ticks.

_TICK_SIGMA = 1 / math.sqrt(6)
# Standard deviation, in ticks, of a difference of two counters that are each cut off anywhere within a tick: that of two
# uniform errors, of 1 / sqrt(12) each.


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Counters at one moment, all in nanoseconds and rising.

    Attributes:
        own_ns: processor time of this process, all threads.
        busy_ns: of all processes on all processors, null off Linux.
        idle_ns: of all processors, null off Linux.
        stolen_ns: taken by the hypervisor, null off Linux.
        waited_ns: how long this thread was ready to run and had no processor, null where the kernel does not tell.
        processors: that /proc/stat counts, null off Linux.
    """

    own_ns: int
    busy_ns: int | None = None
    idle_ns: int | None = None
    stolen_ns: int | None = None
    waited_ns: int | None = None
    processors: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """By how much the counters rose in a window, all in nanoseconds; attributes without a text are those of `CpuTimes`.

    Attributes:
        elapsed_ns: length of the window; both readings lie within it.
    """

    elapsed_ns: int
    own_ns: int
    busy_ns: int | None = None
    idle_ns: int | None = None
    stolen_ns: int | None = None
    waited_ns: int | None = None
    processors: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Use of the processors over one or more windows.

    Attributes:
        seconds: length of all windows together.
        own_cores: processors that this process kept busy, on average.
        other_cores: processors that other processes kept busy, null where it cannot be told; with `own_cores` no more than
            there are.
        stolen_cores: processors that the hypervisor took away, null where it cannot be told.
        waited_share: 0..1, part of the time in which the measuring thread waited for a processor, null where unknown.
        resolution_cores: up to here other and stolen processors may be ticks that fell on one side of a window's ends.
    """

    seconds: float
    own_cores: float
    other_cores: float | None = None
    stolen_cores: float | None = None
    waited_share: float | None = None
    resolution_cores: float = 0.0


def read_cpu_times(root: Path = Path("/")) -> CpuTimes:
    """Return the counters now.

    Args:
        root: of the tree that holds /proc.
    """
    lines = (read_text(root / "proc/stat") or "").splitlines()
    columns = lines[0].split() if lines else []
    known = len(columns) > _STEAL and columns[0] == "cpu" and all(word.isdigit() for word in columns[1 : _STEAL + 2])
    ticks = [int(word) * _TICK_NS for word in columns[1 : _STEAL + 2]] if known else None
    waited = (read_text(root / "proc/thread-self/schedstat") or "").split()
    return CpuTimes(
        own_ns=time.process_time_ns(),
        busy_ns=sum(ticks[i] for i in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ)) if ticks else None,
        idle_ns=ticks[_IDLE] + ticks[_IOWAIT] if ticks else None,
        stolen_ns=ticks[_STEAL] if ticks else None,
        waited_ns=int(waited[1]) if len(waited) >= 2 and waited[1].isdigit() else None,
        processors=sum(line.startswith("cpu") for line in lines[1:]) or None if ticks else None,
    )


def use_between(before: CpuTimes, after: CpuTimes, *, elapsed_ns: int) -> CpuUse | None:
    """Return by how much the counters rose, None for an empty window.

    Args:
        before: counters at the start.
        after: counters at the end.
        elapsed_ns: from before the first reading to after the second, so that no counter can rise by more than all of it.
    """
    if elapsed_ns <= 0:
        return None
    return CpuUse(
        elapsed_ns=elapsed_ns,
        own_ns=after.own_ns - before.own_ns,
        busy_ns=_risen(before.busy_ns, after.busy_ns),
        idle_ns=_risen(before.idle_ns, after.idle_ns),
        stolen_ns=_risen(before.stolen_ns, after.stolen_ns),
        waited_ns=_risen(before.waited_ns, after.waited_ns),
        processors=after.processors,
    )


def activity_of(uses: Sequence[CpuUse]) -> Activity | None:
    """Return the use of the processors over all windows together, None without any.

    Args:
        uses: of each window.
    """
    if not uses:
        return None
    elapsed = sum(use.elapsed_ns for use in uses)
    processors = uses[0].processors or 1
    busy, idle, stolen = (_total([getattr(use, name) for use in uses]) for name in ("busy_ns", "idle_ns", "stolen_ns"))
    waited = _total([use.waited_ns for use in uses])
    own = sum(use.own_ns for use in uses) / elapsed
    other = taken = None
    # Sandboxes that emulate /proc leave all counters at zero: that is not an idle machine.
    if busy is not None and idle is not None and busy + idle > 0:
        # What all processors could do, or what was counted where ticks at the ends make that more.
        most = max(busy + idle + (stolen or 0), processors * elapsed)
        # Ticks count this process as well, and more coarsely than it is known.
        other = max(0.0, processors * busy / most - own)
        taken = None if stolen is None else processors * stolen / most
    return Activity(
        seconds=elapsed / 1e9,
        own_cores=own,
        other_cores=other,
        stolen_cores=taken,
        waited_share=None if waited is None else min(1.0, waited / elapsed),
        resolution_cores=_SURE * _TICK_SIGMA * _TICK_NS * math.sqrt(len(uses) * processors) / elapsed,
    )


def _risen(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
