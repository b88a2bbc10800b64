"""What this machine can do, what it cannot, and the exact fix: `examine` looks at everything once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecnn.doctor.cache import cache
from edgecnn.doctor.finding import Finding, Health
from edgecnn.doctor.gpu import gpu
from edgecnn.doctor.gpulibraries import gpu_libraries
from edgecnn.doctor.machine import machine
from edgecnn.doctor.packages import packages
from edgecnn.doctor.proof import prove
from edgecnn.doctor.sensors import sensors
from edgecnn.runtimes import backend_names

__all__ = ["Finding", "Health", "examine"]


def examine(
    root: Path = Path("/"), *, on_progress: Callable[[int, int, str], None] = lambda done, total, note: None
) -> tuple[Finding, ...]:
    """Return everything that was found; backends are tried in processes of their own, one after the other.

    Args:
        root: folder that stands for "/" where /proc, /sys and /dev are read.
        on_progress: called before each backend with how many are done, how many there are, and its name.
    """
    findings = [*machine(root), *cache(), *packages(), *gpu(root), *gpu_libraries(), *sensors(root)]
    names = backend_names()
    for done, name in enumerate(names):
        on_progress(done, len(names), name)
        findings.append(prove(name))
    return tuple(findings)
