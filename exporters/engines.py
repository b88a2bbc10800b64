"""Whether the backend of a target can be used on this machine."""

from __future__ import annotations

from edgecnn.errors import EdgecnnError
from edgecnn.runtimes import PLUGINS, get_runtime


def why_unusable(backend: str) -> str:
    """Return why a backend cannot be used here, nothing where it can."""
    if backend not in PLUGINS.names():
        return f"there is no backend {backend} here"
    try:
        get_runtime(backend).check()
    except EdgecnnError as error:
        return error.message
    return ""
