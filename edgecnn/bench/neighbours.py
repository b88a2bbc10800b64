"""Which other processes used the processors: the names that "stop the other processes" needs.

Only what the kernel shows this process is seen: from within a container, not what runs beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecnn.procfs import read_text

SHOWN = 2
"""So many are named: who stops the two busiest has mostly stopped what disturbs."""

LEAST_SHARE = 0.05
"""Of one processor: who uses less is not worth a name."""

# Fields behind the name, from 0: Linux, proc_pid_stat(5), where the first of them is field 3.
_SESSION, _USER, _SYSTEM = 3, 11, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTime:
    """What a process has used since it began.

    Attributes:
        name: as the kernel has it, 15 characters at most.
        session: process that leads its session.
        ticks: of the clock, on all processors.
    """

    name: str
    session: int
    ticks: int


class Neighbours:
    """Looks at all processes twice and tells which used most between.

    Args:
        root: of the tree that holds /proc.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: dict[int, ProcessTime] = {}
        self._begin_ns = time.perf_counter_ns()

    def begin(self) -> None:
        """Look for the first time."""
        self._before, self._begin_ns = read_process_times(self._root), time.perf_counter_ns()

    def busiest(self, *, own: Collection[int]) -> tuple[str, ...]:
        """Return who used most since then, see `busiest`.

        Args:
            own: processes of the measurement; this one belongs to it.
        """
        elapsed_ns = time.perf_counter_ns() - self._begin_ns
        mine = {*own, os.getpid()}
        if not self._before or not hasattr(os, "sysconf"):
            return ()
        return busiest(self._before, read_process_times(self._root), elapsed_ns=elapsed_ns, own=mine)


def read_process_times(root: Path = Path("/")) -> dict[int, ProcessTime]:
    """Return all processes that can be seen, by their number; empty where there is no /proc.

    Args:
        root: of the tree that holds /proc.
    """
    try:
        folders = [folder for folder in (root / "proc").iterdir() if folder.name.isdigit()]
    except OSError:
        return {}
    found = {}
    for folder in folders:
        one = _parse(read_text(folder / "stat") or "")
        if one is not None:
            found[int(folder.name)] = one
    return found


def busiest(
    before: Mapping[int, ProcessTime],
    after: Mapping[int, ProcessTime],
    *,
    elapsed_ns: int,
    own: Collection[int] = (),
) -> tuple[str, ...]:
    """Return those that used most between two readings, as "name (pid 12)", the busiest first.

    Args:
        before: the first reading.
        after: the second.
        elapsed_ns: between them.
        own: processes that belong to the measurement, with all of their sessions.
    """
    used = {
        pid: one.ticks - (before[pid].ticks if pid in before else 0)
        for pid, one in after.items()
        if pid not in own and one.session not in own
    }
    least = LEAST_SHARE * elapsed_ns / 1e9 * os.sysconf("SC_CLK_TCK")
    order = sorted((pid for pid, ticks in used.items() if ticks >= max(least, 1)), key=lambda pid: -used[pid])
    return tuple(f"{after[pid].name} (pid {pid})" for pid in order[:SHOWN])


def _parse(text: str) -> ProcessTime | None:
    """Read a line of /proc/PID/stat; the name stands in brackets and may hold some itself."""
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    if len(fields) <= _SYSTEM:
        return None
    try:
        session, user, system = (int(fields[place]) for place in (_SESSION, _USER, _SYSTEM))
    except ValueError:
        return None
    return ProcessTime(name=head.partition("(")[2], session=session, ticks=user + system)
