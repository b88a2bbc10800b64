"""Backend `cpu`: ONNX Runtime's CPU provider, on x86-64 and 64-bit Arm."""

from __future__ import annotations

import importlib.util
import platform
import re
import struct
import warnings
from typing import Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError, MissingDependency, ProviderFallback, RuntimeUnavailable, first_line
from edgecnn.onnxheader import unnamed_dimension
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.runtimes.ortentries import check_entry
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, EngineInfo, Scalar, TensorSpec

PROVIDER = "CPUExecutionProvider"

# Up to here, input and outputs each, copying costs less than the engine's own checks of fresh arrays.
_BOUND_BYTES = 1 << 16

# Buffers of so many input shapes, and so many sets of each, wait for the next run: 4 MiB per session at most.
_KEPT_SHAPES = 4
_KEPT_SETS = 8

_BOUND_DTYPES = frozenset(
    ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)


class CpuRuntime:
    """ONNX Runtime on the CPU. Engine options are the entries of `edgecnn.runtimes.ortentries`."""

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
            BadInput: the engine does not read this file, its operator set is newer than the engine, or the value of an
                engine option cannot be.
            UnknownName: an engine option that is not an entry of `edgecnn.runtimes.ortentries`.
            Contradiction: an engine option that is a field of OpenOptions.
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
        self._active = tuple(self._session.get_providers())
        if not options.allow_fallback:
            _refuse_fallback(self._active, self._nodes)
        self._output_names = [spec.name for spec in outputs]
        # Bound buffers wait here between runs, by input shape; a run takes a set out, so that threads never share one.
        self._idle: dict[tuple[int, ...], list[_Bound]] = {}
        self._bindable = len(inputs) == 1 and all(spec.dtype in _BOUND_DTYPES for spec in (*inputs, *outputs))
        self._input_name = inputs[0].name if inputs else ""

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        if not self._bindable:
            return self._run_free(feeds)
        array = feeds[self._input_name]
        idle = self._idle.get(array.shape)
        if idle is not None:
            return self._run_bound(idle, feeds, array)
        answer = self._run_free(feeds)
        self._learn(array, answer)
        return answer

    def _run_free(self, feeds: Feeds) -> dict[str, Array]:
        try:
            values = self._session.run(self._output_names, feeds)
        except Exception as error:
            raise InferenceError(f"onnxruntime failed: {first_line(error)}") from error
        return dict(zip(self._output_names, values, strict=True))

    def _learn(self, array: Array, answer: dict[str, Array]) -> None:
        """Let further runs of this shape use bound buffers, if the outputs are small and as the graph declares them."""
        predicted = _predict(self.inputs[0], self.outputs, array.shape)
        declared = [(shape, np.dtype(spec.dtype)) for spec, shape in zip(self.outputs, predicted, strict=True)]
        if declared != [(value.shape, value.dtype) for value in answer.values()]:
            self._bindable = False
        elif 0 < array.nbytes <= _BOUND_BYTES and 0 < sum(value.nbytes for value in answer.values()) <= _BOUND_BYTES:
            if len(self._idle) >= _KEPT_SHAPES:
                self._idle.clear()
            self._idle[array.shape] = []

    def _run_bound(self, idle: list[_Bound], feeds: Feeds, array: Array) -> dict[str, Array]:
        try:
            bound = idle.pop()
        except IndexError:
            bound = _Bound(self._engine, self._session, self.inputs[0], self.outputs, array.shape)
        bound.input[...] = array
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception:
            # Either the run itself fails, then also without buffers, or an output's size depends on the data.
            answer = self._run_free(feeds)
            self._bindable = False
            return answer
        answer = {name: buffer.copy() for name, buffer in bound.outputs}
        if len(idle) < _KEPT_SETS:
            idle.append(bound)
        return answer

    def _info(self) -> EngineInfo:
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
            providers_active=self._active,
            nodes=self._nodes,
            threads=self._threads,
            options=chosen,
        )

    def _close(self) -> None:
        self._idle.clear()
        self._session = None


class _Bound:
    """Input and output buffers that stay bound to the engine between runs."""

    def __init__(
        self, engine: Any, session: Any, source: TensorSpec, targets: tuple[TensorSpec, ...], shape: tuple[int, ...]
    ) -> None:
        self.input = np.empty(shape, source.dtype)
        self.binding = session.io_binding()
        self.outputs: list[tuple[str, Array]] = []
        self._values = [engine.OrtValue.ortvalue_from_numpy(self.input)]
        self.binding.bind_ortvalue_input(source.name, self._values[0])
        for target, size in zip(targets, _predict(source, targets, shape), strict=True):
            buffer = np.empty(size, target.dtype)
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
            import onnxruntime
        getattr(onnxruntime, "InferenceSession")  # noqa: B009 (half-removed installations import as an empty package)
    except Exception as error:
        raise RuntimeUnavailable(
            f"onnxruntime is installed but cannot be used: {type(error).__name__}: {first_line(error)}",
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
        check_entry(key, value)
        chosen.add_session_config_entry(key, str(int(value) if isinstance(value, bool) else value))
    return chosen


def _create(engine: Any, artifact: Artifact, chosen: Any) -> Any:
    try:
        return engine.InferenceSession(
            str(artifact.path), sess_options=chosen, providers=[PROVIDER], enable_fallback=False
        )
    except Exception as error:
        if _is_newer(artifact, str(error)):
            raise BadInput(
                f"{artifact.path} has opset {artifact.opset} and IR {artifact.ir_version}, "
                f"more than onnxruntime {engine.__version__} reads",
                "export it again with --opset 18, or install a newer onnxruntime",
            ) from error
        raise BadInput(f"onnxruntime cannot load {artifact.path}: {first_line(error)}", _fix(artifact)) from error


def _fix(artifact: Artifact) -> str:
    """Return what to do about a file that the engine does not load: it has no bf16 convolution on this provider."""
    return "--backend openvino runs bf16 files" if artifact.precision == "bf16" else "export it again"


def _is_newer(artifact: Artifact, text: str) -> bool:
    """Tell whether the engine's text names a greatest version that is below the artifact's."""
    opset = re.search(r"domain ai\.onnx is till opset (\d+)", text)
    ir_version = re.search(r"max supported IR version: (\d+)", text)
    return bool(
        (opset and (artifact.opset or 0) > int(opset[1]))
        or (ir_version and (artifact.ir_version or 0) > int(ir_version[1]))
    )


def _tensor_spec(node: Any) -> TensorSpec:
    dtypes = {"float": "float32", "double": "float64"}
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if d is not None else unnamed_dimension(node.name, i) for i, d in enumerate(node.shape))
    return TensorSpec(name=node.name, dtype=dtypes.get(inner, inner), shape=shape)


def _nodes_per_provider(session: Any) -> dict[str, int] | None:
    """Return provider -> nodes; None from engines before 1.24, which do not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return counts


def _refuse_fallback(active: tuple[str, ...], nodes: dict[str, int] | None) -> None:
    strangers = [name for name in nodes or {} if name != PROVIDER]
    if active[:1] != (PROVIDER,) or strangers:
        raise ProviderFallback(
            f"asked for {PROVIDER}, got {', '.join(strangers or active)}", "OpenOptions(allow_fallback=True) accepts it"
        )


def _predict(source: TensorSpec, targets: tuple[TensorSpec, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the outputs' shapes as the graph declares them for an input's shape; -1 where it does not say."""
    sizes = dict(zip(source.shape, shape, strict=True))
    return [tuple(sizes.get(d, -1) if isinstance(d, str) else d for d in target.shape) for target in targets]
