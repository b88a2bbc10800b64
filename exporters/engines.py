"""Whether this machine can stand for a target, or at least has its backend."""

from __future__ import annotations

import platform

from edgecnn.errors import EdgecnnError
from edgecnn.exporters.targets import Target
from edgecnn.runtimes import PLUGINS, get_runtime

_MACHINES = {"cpu-x86": ("x86_64", "AMD64"), "cpu-arm": ("aarch64", "arm64")}


def is_here(target: Target) -> bool:
    """Tell whether this machine is of the kind that a target is: its processor, and a backend that can be used."""
    machines = _MACHINES.get(target.name)
    return (machines is None or platform.machine() in machines) and not why_unusable(target.backend)


def why_unusable(backend: str) -> str:
    """Return why a backend cannot be used here, nothing where it can."""
    if backend not in PLUGINS.names():
        return f"there is no backend {backend} here"
    try:
        get_runtime(backend).check()
    except EdgecnnError as error:
        return error.message
    return ""
