"""How many threads this process may usefully run: affinity, container quota and kinds of cores; standard library only.

An engine left to itself counts the machine's cores: it is throttled by the container's quota, and on a processor of
large and small cores every operator waits for the smallest. It must be told. The files are those of the Linux kernel
documentation: admin-guide/cgroup-v2.rst (cpu.max, memory.max), scheduler/sched-bwc.rst (cpu.cfs_quota_us,
cpu.cfs_period_us), admin-guide/cgroup-v1/memory.rst (memory.limit_in_bytes), ABI/testing/sysfs-devices-system-cpu
(cpu_capacity) and admin-guide/pm/cpufreq.rst (cpuinfo_max_freq). Version 1 and version 2 of control groups and both at
once (hybrid) are read alike; what is missing, unreadable or malformed is unknown, never an error.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

from edgecnn.procfs import parse_integer, read_integer, read_text

NO_MEMORY_LIMIT_BYTES = 1 << 62
"""From here on memory.limit_in_bytes of version 1 means no limit: it then is 2^63 - 1 rounded down to a page."""


BIG_SHARE = 0.8
"""A core is large from this share of the greatest capacity on: the Cortex-A55 of an RK3588 has 0.52 of its Cortex-A76's
capacity and 0.75 of its frequency; processors of one kind whose best cores may run a little faster stay one kind."""


def usable_threads(root: Path = Path("/"), *, affinity: int | Collection[int] | None = None) -> int:
    """Return how many threads can run at once: large cores within the affinity, at most the quota rounded up; at least 1.

    Args:
        root: folder that stands for "/".
        affinity: ids of the processors that this process may run on, or their number; None asks the system.
    """
    threads = len(_preferred(root, affinity))
    quota = cgroup_quota(root)
    if quota is not None:
        threads = min(threads, math.ceil(quota))
    return max(1, threads)


def usable_processors(root: Path = Path("/"), *, affinity: int | Collection[int] | None = None) -> int:
    """Return how many processors this process may use at once, small ones included; at least 1.

    Args:
        root: folder that stands for "/".
        affinity: as in `usable_threads`.
    """
    quota = cgroup_quota(root)
    allowed = len(_allowed(affinity))
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def big_cores(root: Path = Path("/")) -> tuple[int, ...]:
    """Return the ids of a processor's large cores, ascending; empty where all cores are alike or it cannot be told.

    What counts is the kernel's capacity of each core (0 to 1024), or the greatest frequency where it tells none; large
    are those from `BIG_SHARE` of the greatest on.

    Args:
        root: folder that stands for "/".
    """
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        found = _per_core(root, name)
        if found:
            least = BIG_SHARE * max(found.values())
            large = tuple(core for core, value in sorted(found.items()) if value >= least)
            return large if len(large) < len(found) else ()
    return ()


def usable_big_cores(root: Path = Path("/"), *, affinity: int | Collection[int] | None = None) -> tuple[int, ...]:
    """Return the large cores that this process may run on, ascending; empty where it may run on cores of one kind only.

    Args:
        root: folder that stands for "/".
        affinity: as for `usable_threads`.
    """
    preferred = _preferred(root, affinity)
    return tuple(sorted(preferred)) if len(preferred) < len(_allowed(affinity)) else ()


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors the container may use at a time, 1.5 for example; None without a limit.

    A limit of a parent group holds for its children, so the tightest one on the way up counts.
    """
    folders = cgroup_directories(root, "cpu")
    return min((quota for folder in folders if (quota := _quota(folder)) is not None), default=None)


def cgroup_memory_limit(root: Path = Path("/")) -> int | None:
    """Return the tightest memory limit of the container and its parents in bytes; None without a limit."""
    folders = cgroup_directories(root, "memory")
    return min((limit for folder in folders if (limit := _memory_limit(folder)) is not None), default=None)


def cgroup_directories(root: Path, controller: str) -> tuple[Path, ...]:
    """Return the folders of this process's control group and of its parents that may hold a controller's files.

    Innermost first; the last of a hierarchy is where it is mounted. In a container the path that the kernel tells is
    often the host's, with the container's own group mounted in its place, so some of the folders do not exist.

    Args:
        root: folder that stands for "/".
        controller: "cpu" or "memory", for example.
    """
    folders: list[Path] = []
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        mount = _mount_point(root / "sys/fs/cgroup", hierarchy, controllers, controller)
        if mount is not None:
            folders += _upwards(mount, group)
    return tuple(folders)


def _preferred(root: Path, affinity: int | Collection[int] | None) -> frozenset[int]:
    """Return the processors to run on: the large ones of those allowed, all of those allowed where none is large."""
    allowed = _allowed(affinity)
    return allowed.intersection(big_cores(root)) or allowed


def _allowed(affinity: int | Collection[int] | None) -> frozenset[int]:
    if affinity is None:
        if hasattr(os, "sched_getaffinity"):
            return frozenset(os.sched_getaffinity(0))
        return frozenset(range(os.cpu_count() or 1))
    return frozenset(range(affinity) if isinstance(affinity, int) else affinity)


def _per_core(root: Path, name: str) -> dict[int, int]:
    """Return core -> the positive number in a file of its folder; cores without one, as those off line, are left out."""
    found = {}
    for folder in _folders(root / "sys/devices/system/cpu"):
        core, value = parse_integer(folder.name[3:]), read_integer(folder / name)
        if folder.name.startswith("cpu") and core is not None and core >= 0 and value is not None and value > 0:
            found[core] = value
    return found


def _folders(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _mount_point(base: Path, hierarchy: str, controllers: str, wanted: str) -> Path | None:
    """Return where a line of /proc/self/cgroup is mounted, None when it is not about the wanted controller."""
    if hierarchy == "0" and not controllers:
        return base / "unified" if _is_folder(base / "unified") else base
    if wanted not in controllers.split(","):
        return None
    return base / controllers if _is_folder(base / controllers) else base / wanted


def _upwards(mount: Path, group: str) -> list[Path]:
    parts = [part for part in group.split("/") if part]
    if ".." in parts:  # the group lies outside of what this namespace shows
        parts = []
    return [mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _quota(folder: Path) -> float | None:
    text = read_text(folder / "cpu.max")
    if text is None:
        quota, period = read_integer(folder / "cpu.cfs_quota_us"), read_integer(folder / "cpu.cfs_period_us")
    else:
        fields = text.split()
        quota, period = (parse_integer(fields[0]), parse_integer(fields[1])) if len(fields) == 2 else (None, None)
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    return quota / period


def _memory_limit(folder: Path) -> int | None:
    limit = read_integer(folder / "memory.max")
    if limit is None:
        limit = read_integer(folder / "memory.limit_in_bytes")
    return limit if limit is not None and 0 < limit < NO_MEMORY_LIMIT_BYTES else None
