"""Backend `openvino`: OpenVINO itself on the CPU, reading the ONNX file without a conversion.

What the engine would choose in silence is stated: float32 arithmetic where it would take bfloat16, and threads that the
system places, where it would tie the first of every process to the same core.
"""

from __future__ import annotations

import importlib.util
import struct
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgecnn.errors import (
    BadInput,
    InferenceError,
    MissingDependency,
    RuntimeUnavailable,
    first_line,
)
from edgecnn.quiet import Quiet
from edgecnn.runtimes.base import Array, Feeds, OpenOptions, Session
from edgecnn.runtimes.openvinolimits import crashing_concat
from edgecnn.runtimes.openvinooptions import PRECISIONS, check_precision, check_threads, described, properties_of
from edgecnn.specs import Artifact, EngineInfo, TensorSpec

DEVICE = "CPU"

# So many input shapes get a graph of their own, which is faster; further ones share a graph of variable shape.
_OWN_GRAPHS = 2

# So many requests of each graph wait for the next run.
_KEPT_REQUESTS = 8

# Of the execution graph: what is no work.
_NOT_NODES = ("Const", "Input", "Output")


class OpenVinoRuntime:
    """OpenVINO on the CPU.

    Engine options: `inference_precision` ("f32", the default, "bf16" or "f16") and, by the engine's own names,
    ENABLE_CPU_PINNING (off by default), ENABLE_HYPER_THREADING and SCHEDULING_CORE_TYPE.
    Runs of one session follow each other: calls from several threads are safe and wait.
    """

    name = "openvino"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if the package openvino can be imported here and has its CPU device.

        Raises:
            MissingDependency: openvino is not installed.
            RuntimeUnavailable: a 32-bit system, for which there is no engine, or an installation that cannot be
                imported or has no CPU device.
        """
        if struct.calcsize("P") != 8:
            raise RuntimeUnavailable("openvino has no package for 32-bit systems", "install a 64-bit system")
        engine = _import_engine()
        if DEVICE not in engine.Core().available_devices:
            raise _unusable("it has no CPU device")

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session that runs on the CPU device.

        Raises:
            BadInput: the engine does not read this file, or the value of an engine option cannot be.
            UnknownName: an engine option that this backend does not have.
            Contradiction: an engine option that is said elsewhere, or an option that this engine cannot honour.
            RuntimeUnavailable: this processor does not compute in the precision that was asked for.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        return _OpenVinoSession(artifact, options)


class _OpenVinoSession(Session):
    def __init__(self, artifact: Artifact, options: OpenOptions) -> None:
        super().__init__(artifact.spec.inputs, artifact.spec.outputs)
        self._engine = _import_engine()
        self._properties = properties_of(options)
        self._precision = str(options.engine.get("inference_precision", PRECISIONS[0]))
        self._core = self._engine.Core()
        self._model = _read(self._core, artifact)
        self._ports = [_index(artifact, self._model.inputs, spec) for spec in self.inputs]
        self._answers = [_index(artifact, self._model.outputs, spec) for spec in self.outputs]
        # Graphs by the shapes of the inputs; () is the one that takes any.
        self._graphs: dict[tuple[tuple[int, ...], ...], _Graph] = {}
        self._compiling = threading.Lock()
        try:
            first = self._add_graph(_one_image(self.inputs))
        except Exception as error:
            raise _unreadable(artifact, error) from error
        self._threads = int(first.compiled.get_property("INFERENCE_NUM_THREADS"))
        check_threads(self._threads, options.threads)
        check_precision(first.compiled, self._precision)

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        arrays = [feeds[spec.name] for spec in self.inputs]
        shapes = tuple([array.shape for array in arrays])
        try:
            graph = self._graphs.get(shapes) or self._graph_for(shapes)
            values = graph.run(self._engine, dict(zip(self._ports, arrays, strict=True)), self._answers)
        except Exception as error:
            raise InferenceError(f"openvino failed: {first_line(_cause(error))}") from error
        return {spec.name: value for spec, value in zip(self.outputs, values, strict=True)}

    def _graph_for(self, shapes: tuple[tuple[int, ...], ...]) -> _Graph:
        """Return the graph that runs inputs of these shapes, compiled now if need be."""
        with self._compiling:
            if shapes in self._graphs:
                return self._graphs[shapes]
            own = sum(1 for key in self._graphs if key)
            key = shapes if own < _OWN_GRAPHS else ()
            return self._graphs.get(key) or self._add_graph(key)

    def _add_graph(self, shapes: tuple[tuple[int, ...], ...]) -> _Graph:
        model = self._model.clone()
        if shapes:
            model.reshape({model.inputs[i]: list(shape) for i, shape in zip(self._ports, shapes, strict=True)})
        graph = _Graph(self._core.compile_model(model, DEVICE, self._properties))
        self._graphs[shapes] = graph
        return graph

    def _info(self) -> EngineInfo:
        graph = next(iter(self._graphs.values()))
        return EngineInfo(
            backend="openvino",
            engine="openvino",
            engine_version=self._engine.get_version().partition("-")[0],
            providers_asked=(DEVICE,),
            providers_active=tuple(graph.compiled.get_property("EXECUTION_DEVICES")),
            nodes={DEVICE: sum(kind not in _NOT_NODES for kind, _ in graph.layers())},
            threads=self._threads,
            options={"inference_precision": self._precision, **described(self._properties)},
        )

    def layers(self) -> tuple[tuple[str, str], ...]:
        """Return (kind, precision) of each node of the execution graph, ("Convolution", "u8") for example."""
        return next(iter(self._graphs.values())).layers()

    def _close(self) -> None:
        self._graphs.clear()
        del self._model


class _Graph:
    """A compiled graph and the requests that wait for a run; a run takes one out, so that threads never share one."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._idle: list[Any] = []

    def run(self, engine: Any, inputs: Mapping[int, Array], outputs: list[int]) -> list[Array]:
        """Return copies of the outputs.

        Args:
            engine: the package.
            inputs: port -> array.
            outputs: ports.
        """
        # The engine reads these in place, does not keep them alive, and takes no read-only ones.
        held = {port: a if a.flags.c_contiguous and a.flags.writeable else a.copy() for port, a in inputs.items()}
        try:
            request = self._idle.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        for port, array in held.items():
            request.set_input_tensor(port, engine.Tensor(array, shared_memory=True))
        request.infer()
        values = [np.array(request.get_output_tensor(port).data) for port in outputs]
        if len(self._idle) < _KEPT_REQUESTS:
            self._idle.append(request)
        return values

    def layers(self) -> tuple[tuple[str, str], ...]:
        """Return kind and precision of each node of the execution graph."""
        told = [node.get_rt_info() for node in self.compiled.get_runtime_model().get_ordered_ops()]
        return tuple((one["layerType"].astype(str), one["runtimePrecision"].astype(str)) for one in told)


def _import_engine() -> Any:
    if importlib.util.find_spec("openvino") is None:
        raise MissingDependency("openvino", "openvino", "backend openvino")
    try:
        with Quiet("openvino"):
            import openvino
        getattr(openvino, "Core")  # noqa: B009 (half-removed installations import as an empty package)
    except Exception as error:
        raise _unusable(f"{type(error).__name__}: {first_line(error)}") from error
    return openvino


def _unusable(reason: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        f"openvino is installed but cannot be used: {reason}",
        "pip uninstall -y openvino && pip install 'edgecnn[openvino]'",
    )


def _unreadable(artifact: Artifact, error: Exception) -> BadInput:
    return BadInput(f"openvino cannot load {artifact.path}: {first_line(_cause(error))}", "export it again")


def _read(core: Any, artifact: Artifact) -> Any:
    try:
        model = core.read_model(str(artifact.path))
    except Exception as error:
        raise _unreadable(artifact, error) from error
    concat = crashing_concat(model)
    if concat is not None:
        raise BadInput(
            f"openvino crashes on {artifact.path}: a quantizer behind the Concat {concat}, then only pointwise operations",
            "quantize the fp32 file for it: edgecnn quantize --target openvino",
        )
    return model


def _cause(error: BaseException) -> BaseException:
    """Return the error with the line that says why, where the engine puts places of its own source first."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from ", "Check '", "While "))]
    return RuntimeError(said[0]) if said else error


def _index(artifact: Artifact, ports: Any, spec: TensorSpec) -> int:
    """Return which of the engine's inputs or outputs has a tensor's name.

    Raises:
        BadInput: none has.
    """
    for index, port in enumerate(ports):
        if spec.name in port.get_names():
            return index
    raise BadInput(f"openvino finds no tensor {spec.name} in {artifact.path}", "did the file change? export it again")


def _one_image(inputs: tuple[TensorSpec, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the inputs' shapes for one image; () where more than the first dimension is open."""
    shapes = tuple(tuple(1 if i == 0 and isinstance(d, str) else d for i, d in enumerate(s.shape)) for s in inputs)
    fixed = tuple(tuple(d for d in shape if isinstance(d, int)) for shape in shapes)
    return fixed if fixed == shapes else ()
