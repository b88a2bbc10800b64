"""What every backend on ONNX Runtime shares: the engine's import, its sessions, and the proof of where the nodes run.

A backend builds its `OrtSession` from three parts: `import_engine()`, `session_options()` and the providers that it
asks for. The engine falls back to the CPU in silence, or with a line on standard output, wherever it can; so sessions
are created with `enable_fallback=False`, and what came out is compared with what was asked for (`refuse_fallback`).
"""

from __future__ import annotations

import platform
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError, MissingDependency, ProviderFallback, RuntimeUnavailable, first_line
from edgecnn.onnxmodel.header import unnamed_dimension
from edgecnn.quiet import Quiet
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.specs import Artifact, EngineInfo, Scalar, TensorSpec

CPU_PROVIDER = "CPUExecutionProvider"

Providers = Sequence[tuple[str, Mapping[str, str]]]
"""Execution providers in the order in which they may take nodes, each with its options; all values are text."""

Placement = dict[str, tuple[str, ...]]
"""Provider -> the nodes that it runs, each as "name (operator)"."""

# Of nodes on another provider so many are named.
_NAMED = 3

_NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"

_ACCEPT = "OpenOptions(allow_fallback=True) accepts it"

# More than most weights of a CNN take while an engine repacks them, and far from what shows in the memory of a process.
_REUSED_BYTES = 1 << 22


def check_system() -> None:
    """Raise RuntimeUnavailable on a 32-bit system, for which there is no package of the engine."""
    if struct.calcsize("P") != 8:
        raise RuntimeUnavailable(
            f"onnxruntime has no package for 32-bit systems ({platform.machine()})", "install a 64-bit system"
        )


def import_engine(*, package: str = "onnxruntime", extra: str = "cpu", backend: str = "cpu") -> Any:
    """Return the module onnxruntime.

    Args:
        package: the distribution that the backend needs, "onnxruntime-gpu" for example; the module has one name in all.
        extra: of edgecnn, which installs it.
        backend: that asks, for the error text.

    Raises:
        MissingDependency: it is not installed.
        RuntimeUnavailable: it is installed and cannot be imported, or is what is left after one of two distributions in
            the same folder was removed.
    """
    try:
        with Quiet("onnxruntime"):
            import onnxruntime
        getattr(onnxruntime, "InferenceSession")  # noqa: B009 (half-removed installations import as an empty package)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise MissingDependency(package, extra, f"backend {backend}") from None
        from edgecnn.runtimes.ort.installed import engine_distributions  # noqa: PLC0415 (rarely asked, and slow to load)

        found = engine_distributions()
        both = f" ({' and '.join(found)} overwrite each other)" if len(found) > 1 else ""
        removed = " ".join(dict.fromkeys(("onnxruntime", "onnxruntime-gpu", *found)))
        raise RuntimeUnavailable(
            f"onnxruntime is installed but cannot be used{both}: {type(error).__name__}: {first_line(error)}",
            f"pip uninstall -y {removed} && pip install 'edgecnn[{extra}]'",
        ) from error
    return onnxruntime


def session_options(
    engine: Any, options: OpenOptions, threads: int, entries: Mapping[str, Scalar] | None = None
) -> Any:
    """Return the engine's SessionOptions for OpenOptions: threads, arena, spinning, placement report, no log.

    Args:
        engine: the module.
        options: how to open; `options.engine` is not read, see entries.
        threads: of one operator.
        entries: configuration entries by the engine's names, already checked; booleans become "1" and "0".
    """
    chosen = engine.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.enable_cpu_mem_arena = options.arena
    chosen.log_severity_level = 4
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for key, value in (entries or {}).items():
        chosen.add_session_config_entry(key, str(int(value) if isinstance(value, bool) else value))
    return chosen


def create_session(
    engine: Any, artifact: Artifact, chosen: Any, providers: Providers, *, graph: bytes | None = None
) -> Any:
    """Return the engine's InferenceSession, created without its own fallback.

    Args:
        engine: the module.
        artifact: the model; its versions are named where the engine is older.
        chosen: SessionOptions.
        providers: empty where `chosen` has them (`add_provider_for_devices`).
        graph: content of a model to load instead of the artifact's file.

    Raises:
        BadInput: the engine does not read this file, or it is newer than the engine.
        ProviderFallback: the engine was told to keep nodes off the CPU and cannot.
    """
    try:
        return engine.InferenceSession(
            graph or str(artifact.path),
            sess_options=chosen,
            providers=[(name, dict(values)) for name, values in providers] or None,
            enable_fallback=False,
        )
    except Exception as error:
        text = str(error)
        if "fallback to CPU EP has been explicitly disabled" in text:
            asked = ", ".join(name for name, _ in providers)
            raise ProviderFallback(f"{asked} cannot run every node of {artifact.path}", _ACCEPT) from error
        if _is_newer(artifact, text):
            raise BadInput(
                f"{artifact.path} has opset {artifact.opset} and IR {artifact.ir_version}, "
                f"more than onnxruntime {engine.__version__} reads",
                "export it again with --opset 18, or install a newer onnxruntime",
            ) from error
        raise BadInput(f"onnxruntime cannot load {artifact.path}: {first_line(error)}", _fix(artifact)) from error


def _reuse_freed_memory() -> None:
    """Let the allocator give freed blocks of some megabytes to whoever asks next, in place of unmapping each at once.

    While it optimises a graph an engine takes and frees a block per weight. The GNU C library maps those above
    M_MMAP_THRESHOLD (128 KiB) one by one, and each costs the faults of all its pages. Freeing a mapped block moves the
    threshold up to its size, mallopt(3); one that is never written to costs nothing itself. Other allocators take no notice.
    """
    np.empty(_REUSED_BYTES, np.uint8)


def _fix(artifact: Artifact) -> str:
    """Return what to do about a file that the engine does not load: it has no bf16 convolution on this provider."""
    return "--backend openvino runs bf16 files" if artifact.precision == "bf16" else "export it again"


def placement(session: Any) -> Placement | None:
    """Return which provider runs which nodes of an InferenceSession; None from engines before 1.24, which do not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    placed: Placement = {}
    for part in session.get_provider_graph_assignment_info():
        nodes = tuple(f"{node.name or 'unnamed'} ({node.op_type})" for node in part.get_nodes())
        placed[part.ep_name] = placed.get(part.ep_name, ()) + nodes
    return placed


def refuse_fallback(asked: tuple[str, ...], active: tuple[str, ...], placed: Placement | None) -> None:
    """Return if a session has the providers that were asked for, in that order, and no node on another one.

    Raises:
        ProviderFallback: it names what runs instead, and the first nodes on it.
    """
    wanted = ", ".join(asked)
    if active[: len(asked)] != asked:
        raise ProviderFallback(f"asked for {wanted}, got {', '.join(active) or 'none'}", _ACCEPT)
    strangers = {name: nodes for name, nodes in (placed or {}).items() if name not in asked}
    if strangers:
        total = sum(map(len, (placed or {}).values()))
        parts = [f"{len(nodes)} of {total} nodes on {name}: {_some(nodes)}" for name, nodes in strangers.items()]
        raise ProviderFallback(f"asked for {wanted}, got {'; '.join(parts)}", _ACCEPT)


def _some(nodes: tuple[str, ...]) -> str:
    more = len(nodes) - _NAMED
    return ", ".join(nodes[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def tells_placement(engine: Any) -> bool:
    """Tell whether this engine names the provider of each node, as those from 1.24 on do."""
    return hasattr(engine.InferenceSession, "get_provider_graph_assignment_info")


def forbid_cpu(engine: Any, chosen: Any, options: OpenOptions) -> None:
    """Let an engine that does not tell where nodes run refuse the CPU itself; the CPU may then not be among the providers.

    Engines that do tell are asked afterwards, since their own refusal names no node.
    """
    if not options.allow_fallback and not tells_placement(engine):
        chosen.add_session_config_entry(_NO_CPU_FALLBACK, "1")


def tensor_spec(node: Any) -> TensorSpec:
    """Return a TensorSpec for one of the engine's inputs or outputs (NodeArg)."""
    dtypes = {"float": "float32", "double": "float64"}
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if d is not None else unnamed_dimension(node.name, i) for i, d in enumerate(node.shape))
    return TensorSpec(name=node.name, dtype=dtypes.get(inner, inner), shape=shape)


class OrtSession(Session):
    """A session of ONNX Runtime that runs where it was asked to; feeds and answers are plain numpy arrays.

    A backend with buffers of its own overrides `_run` and, to release them, `_close`; `self._session` is the engine's
    InferenceSession, `self._engine` the module, `self._output_names` the outputs in order. What the backend has to say
    about itself goes into `described`, which `info().options` shows.

    Args:
        engine: what `import_engine` gave.
        artifact: the model.
        options: how it was asked to be opened; strict unless `allow_fallback`.
        backend: edgecnn's name of the backend.
        providers: execution providers with their options; empty where `chosen` has them.
        chosen: what `session_options` gave, with whatever the backend added.
        threads: as in `chosen`.
        described: further entries of `info().options`.
        asked: names of the providers that may have nodes; None takes those of `providers`.
        graph: content of a model to load instead of the artifact's file.

    Raises:
        BadInput: the engine does not read this file.
        ProviderFallback: the engine put nodes elsewhere.
    """

    def __init__(
        self,
        engine: Any,
        artifact: Artifact,
        options: OpenOptions,
        *,
        backend: str,
        providers: Providers,
        chosen: Any,
        threads: int,
        described: Mapping[str, Scalar] | None = None,
        asked: tuple[str, ...] | None = None,
        graph: bytes | None = None,
    ) -> None:
        self._engine = engine
        if options.arena:
            _reuse_freed_memory()
        self._session = create_session(engine, artifact, chosen, providers, graph=graph)
        inputs = tuple(tensor_spec(node) for node in self._session.get_inputs())
        outputs = tuple(tensor_spec(node) for node in self._session.get_outputs())
        super().__init__(inputs, outputs)
        self._asked = asked if asked is not None else tuple(name for name, _ in providers)
        self._active = tuple(self._session.get_providers())
        self._placement = placement(self._session)
        if not options.allow_fallback:
            refuse_fallback(self._asked, self._active, self._placement)
        self._backend = backend
        self._threads = threads
        self._described = {"spinning": options.spinning, "arena": options.arena, **(described or {})}
        self._output_names = [spec.name for spec in outputs]

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        try:
            values = self._session.run(self._output_names, feeds)
        except Exception as error:
            raise InferenceError(f"onnxruntime failed: {first_line(error)}") from error
        return dict(zip(self._output_names, values, strict=True))

    def _info(self) -> EngineInfo:
        placed = self._placement
        return EngineInfo(
            backend=self._backend,
            engine="onnxruntime",
            engine_version=self._engine.__version__,
            providers_asked=self._asked,
            providers_active=self._active,
            nodes=None if placed is None else {name: len(nodes) for name, nodes in placed.items()},
            threads=self._threads,
            options=self._described,
        )

    def _close(self) -> None:
        self._session = None


def _is_newer(artifact: Artifact, text: str) -> bool:
    """Tell whether the engine's text names a greatest version that is below the artifact's."""
    opset = re.search(r"domain ai\.onnx is till opset (\d+)", text)
    ir_version = re.search(r"max supported IR version: (\d+)", text)
    return bool(
        (opset and (artifact.opset or 0) > int(opset[1]))
        or (ir_version and (artifact.ir_version or 0) > int(ir_version[1]))
    )
