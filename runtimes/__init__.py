"""Backends: one engine per file, all through the contract of `edgecnn.runtimes.base`.

This is the part that an edge app embeds: importing it loads numpy and nothing else; an engine is imported when it is
opened.
"""

from __future__ import annotations

from edgecnn.errors import EdgecnnError
from edgecnn.plugins import Plugins
from edgecnn.runtimes.base import OpenOptions, Runtime, Session
from edgecnn.specs import Artifact

__all__ = ["PLUGINS", "OpenOptions", "Runtime", "Session", "backend_states", "get_runtime", "open_session"]

PLUGINS = Plugins(
    "backend",
    "edgecnn.runtimes",
    {
        "cpu": "edgecnn.runtimes.cpu:CpuRuntime",
        "openvino": "edgecnn.runtimes.openvino:OpenVinoRuntime",
        "null": "edgecnn.runtimes.null:NullRuntime",
    },
)


def get_runtime(name: str) -> Runtime:
    """Return the backend of that name; it may still be unable to run here, see `Runtime.check`.

    Raises:
        UnknownName: no such backend; known ones are listed.
        UnavailableError: its module cannot be imported.
    """
    runtime: Runtime = PLUGINS.load(name)()
    return runtime


def open_session(artifact: Artifact, *, backend: str = "cpu", options: OpenOptions | None = None) -> Session:
    """Return a session for an artifact on a backend that can run here.

    Raises:
        UnknownName: no such backend.
        MissingDependency: the engine is not installed.
        RuntimeUnavailable: the backend cannot run here.
        BadInput: the engine does not read this file.
    """
    runtime = get_runtime(backend)
    runtime.check()
    return runtime.open(artifact, options or OpenOptions())


def backend_states() -> dict[str, EdgecnnError | None]:
    """Return backend name -> None if it can run here, or the error that says why not and how to mend it."""
    states: dict[str, EdgecnnError | None] = {}
    for name in PLUGINS.names():
        try:
            get_runtime(name).check()
            states[name] = None
        except EdgecnnError as error:
            states[name] = error
    return states
