"""Backend `cpu`: ONNX Runtime's CPU provider, on x86-64 and 64-bit Arm."""

from __future__ import annotations

import importlib.util
import math
import platform
import struct
import warnings
from collections import defaultdict
from typing import Any

import numpy as np

from edgecnn.errors import (
    BadInput,
    Contradiction,
    InferenceError,
    MissingDependency,
    ProviderFallback,
    RuntimeUnavailable,
)
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, EngineInfo, Scalar, TensorSpec

PROVIDER = "CPUExecutionProvider"

# Up to here copying into a bound buffer costs less than the engine's own checks of a fresh array.
_BOUND_BYTES = 1 << 16


class CpuRuntime:
    """ONNX Runtime on the CPU. Engine options are ONNX Runtime session configuration entries ("session.…", "mlas.…")."""

    name = "cpu"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if the package onnxruntime can be imported here.

        Raises:
            RuntimeUnavailable: a 32-bit system, for which there is no engine, or an installation that cannot be
            imported.
            MissingDependency: onnxruntime is not installed.
        """
        if struct.calcsize("P") != 8:
            raise RuntimeUnavailable(
                f"onnxruntime has no package for 32-bit systems ({platform.machine()})", "install a 64-bit system"
            )
        _import_engine()

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session whose every node runs on the CPU provider.

        Raises:
            BadInput: the engine does not read this file, or its operator set is newer than the engine.
            Contradiction: an engine option that is not a session configuration entry.
            ProviderFallback: the engine put nodes elsewhere.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        return _CpuSession(artifact, options)


class _CpuSession(Session):
    def __init__(self, artifact: Artifact, options: OpenOptions) -> None:
        self._engine = _import_engine()
        self._options = options
        self._threads = options.threads or usable_threads()
        self._session = _create(self._engine, artifact, _session_options(self._engine, options, self._threads))
        inputs = tuple(_tensor_spec(node) for node in self._session.get_inputs())
        outputs = tuple(_tensor_spec(node) for node in self._session.get_outputs())
        super().__init__(inputs, outputs)
        self._nodes = _nodes_per_provider(self._session)
        if not options.allow_fallback:
            _refuse_fallback(self._session.get_providers(), self._nodes)
        self._output_names = [spec.name for spec in outputs]
        # Bound buffers wait here between runs, by input shape; a run takes a set out, so that threads never share one.
        self._idle: defaultdict[tuple[int, ...], list[_Bound]] = defaultdict(list)
        self._bindable = len(inputs) == 1 and _predictable(inputs, outputs)
        self._input_name = inputs[0].name if inputs else ""

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        if self._bindable:
            array = feeds[self._input_name]
            if array.nbytes <= _BOUND_BYTES:
                return self._run_bound(array)
        try:
            values = self._session.run(self._output_names, feeds)
        except Exception as error:
            raise InferenceError(f"onnxruntime failed: {_first_line(error)}") from error
        return dict(zip(self._output_names, values, strict=True))

    def _run_bound(self, array: Array) -> dict[str, Array]:
        idle = self._idle[array.shape]
        try:
            bound = idle.pop()
        except IndexError:
            bound = _Bound(self._engine, self._session, self.inputs[0], self.outputs, array.shape)
        np.copyto(bound.input, array)
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception as error:
            raise InferenceError(f"onnxruntime failed: {_first_line(error)}") from error
        answer = {name: buffer.copy() for name, buffer in bound.outputs}
        idle.append(bound)
        return answer

    def info(self) -> EngineInfo:
        """Return what runs the model; nodes are counted after the engine's optimisation."""
        chosen: dict[str, Scalar] = {
            "spinning": self._options.spinning,
            "arena": self._options.arena,
            "graph_optimization": "all",
            **self._options.engine,
        }
        return EngineInfo(
            backend="cpu",
            engine="onnxruntime",
            engine_version=self._engine.__version__,
            providers_asked=(PROVIDER,),
            providers_active=tuple(self._session.get_providers()),
            nodes=self._nodes,
            threads=self._threads,
            options=chosen,
        )

    def _close(self) -> None:
        self._idle.clear()
        del self._session


class _Bound:
    """Input and output buffers that stay bound to the engine between runs."""

    def __init__(
        self, engine: Any, session: Any, source: TensorSpec, targets: tuple[TensorSpec, ...], shape: tuple[int, ...]
    ) -> None:
        sizes = dict(zip(source.shape, shape, strict=True))
        self.input = np.empty(shape, source.dtype)
        self.binding = session.io_binding()
        self.outputs: list[tuple[str, Array]] = []
        self._values = [engine.OrtValue.ortvalue_from_numpy(self.input)]
        self.binding.bind_ortvalue_input(source.name, self._values[0])
        for target in targets:
            buffer = np.empty([sizes[d] if isinstance(d, str) else d for d in target.shape], target.dtype)
            value = engine.OrtValue.ortvalue_from_numpy(buffer)
            self.binding.bind_ortvalue_output(target.name, value)
            self.outputs.append((target.name, buffer))
            self._values.append(value)


def _import_engine() -> Any:
    if importlib.util.find_spec("onnxruntime") is None:
        raise MissingDependency("onnxruntime", "cpu", "backend cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import onnxruntime  # noqa: PLC0415
        getattr(onnxruntime, "InferenceSession")  # noqa: B009 (half-removed installations import as an empty package)
    except Exception as error:
        raise RuntimeUnavailable(
            f"onnxruntime is installed but cannot be used: {type(error).__name__}: {_first_line(error)}",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'edgecnn[cpu]'",
        ) from error
    return onnxruntime


def _session_options(engine: Any, options: OpenOptions, threads: int) -> Any:
    chosen = engine.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.enable_cpu_mem_arena = options.arena
    chosen.log_severity_level = 4
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for key, value in options.engine.items():
        if "." not in key:
            raise Contradiction(f"backend cpu has no option {key!r}", 'give a session configuration entry, "session.…"')
        chosen.add_session_config_entry(key, str(int(value) if isinstance(value, bool) else value))
    return chosen


def _create(engine: Any, artifact: Artifact, chosen: Any) -> Any:
    try:
        return engine.InferenceSession(
            str(artifact.path), sess_options=chosen, providers=[PROVIDER], enable_fallback=False
        )
    except Exception as error:
        text = _first_line(error)
        if "opset" in text.lower() or "IR version" in text:
            raise BadInput(
                f"{artifact.path} has opset {artifact.opset} and IR {artifact.ir_version}, "
                f"more than onnxruntime {engine.__version__} reads",
                "export it again with --opset 18, or install a newer onnxruntime",
            ) from error
        raise BadInput(f"onnxruntime cannot load {artifact.path}: {text}", "export it again") from error


def _tensor_spec(node: Any) -> TensorSpec:
    dtypes = {"float": "float32", "double": "float64"}
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if d is not None else f"unknown_{i}" for i, d in enumerate(node.shape))
    return TensorSpec(name=node.name, dtype=dtypes.get(inner, inner), shape=shape)


def _nodes_per_provider(session: Any) -> dict[str, int] | None:
    """Return provider -> nodes; None from engines before 1.24, which do not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _refuse_fallback(active: list[str], nodes: dict[str, int] | None) -> None:
    strangers = [name for name in nodes or {} if name != PROVIDER]
    if active[:1] != [PROVIDER] or strangers:
        raise ProviderFallback(
            f"asked for {PROVIDER}, got {', '.join(strangers or active)}", "--allow-fallback accepts it"
        )


def _predictable(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bool:
    """Tell whether output shapes follow from the input's shape, so that buffers can be made beforehand."""
    symbols = {d for spec in inputs for d in spec.shape if isinstance(d, str)}
    wanted = {d for spec in outputs for d in spec.shape if isinstance(d, str)}
    sizes = [math.prod(d for d in spec.shape if isinstance(d, int)) for spec in (*inputs, *outputs)]
    numeric = all(spec.dtype not in ("string", "bfloat16") for spec in (*inputs, *outputs))
    return wanted <= symbols and all(sizes) and numeric


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
