"""Backends: one engine per file, all through the contract of `edgecnn.runtimes.base`.

This is the part that an edge app embeds: importing it loads numpy and nothing else; an engine is imported when it is
opened.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edgecnn.errors import BadInput
from edgecnn.plugins import Plugins
from edgecnn.runtimes.base import OpenOptions, Runtime, Session
from edgecnn.specs import Artifact

if TYPE_CHECKING:
    from edgecnn.runtimes.states import BackendState

AUTO = "auto"
"""In place of a backend's name: the one that is measured to be the fastest here, see `edgecnn.bench.choose`."""

SCALING_BACKENDS = ("cpu", "null")
"""Backends that run files which scale images themselves (`Preprocess.resize_in_graph`)."""

__all__ = [
    "PLUGINS",
    "SCALING_BACKENDS",
    "OpenOptions",
    "Runtime",
    "Session",
    "backend_names",
    "backend_states",
    "check_scales",
    "get_runtime",
    "open_session",
]

# Execution providers of ONNX Runtime that have no name of their own in PLUGINS: "ort:xnnpack".
_PROVIDER_PREFIX = "ort:"

PLUGINS = Plugins(
    "backend",
    "edgecnn.runtimes",
    {
        "cpu": "edgecnn.runtimes.cpu:CpuRuntime",
        "openvino": "edgecnn.runtimes.openvino:OpenVinoRuntime",
        "cuda": "edgecnn.runtimes.cuda:CudaRuntime",
        "ort-trt": "edgecnn.runtimes.ort_trt:OrtTrtRuntime",
        "trt": "edgecnn.runtimes.trt.backend:TrtRuntime",
        "torch": "edgecnn.runtimes.torch_eager:TorchRuntime",
        "null": "edgecnn.runtimes.null:NullRuntime",
    },
)


def get_runtime(name: str) -> Runtime:
    """Return the backend of that name; it may still be unable to run here, see `Runtime.check`.

    Args:
        name: one of `PLUGINS`, or "ort:" and an execution provider of ONNX Runtime, "ort:xnnpack" for example.

    Raises:
        UnknownName: no such backend; known ones are listed.
        UnavailableError: its module cannot be imported.
    """
    if not isinstance(name, str):
        raise BadInput("backend", expected="a name such as cpu", got=repr(name)[:40])
    if name.startswith(_PROVIDER_PREFIX):
        from edgecnn.runtimes.ort_provider import OrtProviderRuntime, provider_named  # noqa: PLC0415 (rarely asked for)

        return OrtProviderRuntime(provider_named(name.removeprefix(_PROVIDER_PREFIX)))
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
    check_scales(artifact, backend)
    return runtime.open(artifact, options or OpenOptions())


def check_scales(artifact: Artifact, backend: str) -> None:
    """Raise BadInput if a file scales images itself and the backend does not do it as edgecnn does.

    OpenVINO reads the antialiased Resize and leaves the antialiasing out without a word.
    """
    preprocess = artifact.spec.preprocess
    if preprocess is not None and preprocess.resize_in_graph and backend not in SCALING_BACKENDS:
        raise BadInput(
            f"{artifact.path} scales images itself, which backend {backend} does not do as it was measured",
            f"backend {SCALING_BACKENDS[0]}, or export it without --resize in-graph",
        )


def backend_names() -> tuple[str, ...]:
    """Return the names of all backends: built in, from other packages, and "ort:<Provider>" for installed providers."""
    from edgecnn.runtimes.ort_provider import installed_providers  # noqa: PLC0415 (it looks at every installed package)

    return (*PLUGINS.names(), *(_PROVIDER_PREFIX + provider for provider in installed_providers()))


def backend_states(*, apart: bool = True) -> tuple[BackendState, ...]:
    """Return for each backend whether it can run here, and if not, why and what mends it; this never raises.

    Args:
        apart: ask in a child process, so that a backend that crashes or hangs is told as broken; without it the engines
            are imported into this process.
    """
    from edgecnn.runtimes.states import state_of, states_apart  # noqa: PLC0415 (not needed to run a model)

    # A program that is frozen into one file has no interpreter to start.
    if apart and sys.executable:
        return states_apart()
    return tuple(state_of(name, get_runtime) for name in backend_names())
