"""The processor's data caches, as the kernel tells them (Linux, ABI/testing/sysfs-devices-system-cpu, cache/indexN)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.sysfs import CPUS, cpu_numbers, matching, online_cpus
from edgecnn.procfs import read_integer, read_text

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLevel:
    """One cache that holds data.

    Attributes:
        level: 1 is nearest to the core.
        size_bytes: of one of them.
        shared_by: processors that share one, null where unknown.
    """

    level: int
    size_bytes: int
    shared_by: int | None


def data_caches(root: Path = Path("/")) -> tuple[CacheLevel, ...]:
    """Return the caches of the first online processor that hold data, nearest first; empty where the kernel does not tell.

    Args:
        root: folder that stands for "/".
    """
    first = (online_cpus(root) or (0,))[0]
    found = [_cache(folder) for folder in matching(root, f"{CPUS}/cpu{first}/cache/index*")]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.level))


def _cache(folder: Path) -> CacheLevel | None:
    level, kind = read_integer(folder / "level"), (read_text(folder / "type") or "").strip()
    size = re.fullmatch(r"(\d+)([KMG]?)", (read_text(folder / "size") or "").strip())
    if level is None or size is None or kind not in ("Data", "Unified") or not int(size[1]):
        return None
    shared = cpu_numbers(read_text(folder / "shared_cpu_list") or "")
    return CacheLevel(level=level, size_bytes=int(size[1]) * _UNITS[size[2]], shared_by=len(shared) if shared else None)
