# ruff: noqa: N802 (the names are TensorRT's)
"""A stand-in for the module `tensorrt` on machines without a GPU, of version 10 or 11, over a fake CUDA runtime.

It builds "engines" out of anything that gives a FakeModel, an .onnx file by default (computed by ONNX Runtime), and fails on
demand, as TensorRT does: with None, False or -1 and a line in the logger, never with an exception.
"""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Mapping
from enum import Enum
from importlib.machinery import ModuleSpec
from typing import Any

from edgecnn.runtimes.base import Array
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrtbuild import FakeBuilder, FakeParser
from edgecnn.testing.faketrtengine import FakeEngine
from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor

_MAGIC = b"fakeplan"

_DATA_TYPES = {
    "float32": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "uint8": "UINT8",
    "bfloat16": "BF16",
}


class _Member(Enum):
    """A member of a pybind11 enum: it has a number, and is none."""

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)


def _enum(name: str, *members: str) -> Any:
    make: Any = _Member
    return make(name, {member: number for number, member in enumerate(members)})


class FakeLogger:
    """What loggers derive from; like the real one it wants to be initialised."""

    Severity = _enum("Severity", "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")

    def __init__(self) -> None:
        self.initialised = True

    def log(self, severity: Any, msg: str) -> None:
        """Take a message."""


class FakeProfiler:
    """What profilers derive from."""

    def __init__(self) -> None:
        self.initialised = True

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        """Take a layer's time."""


class FakeProgressMonitor:
    """What progress monitors derive from."""

    def __init__(self) -> None:
        self.initialised = True


class HostMemory(bytes):
    """An IHostMemory."""

    @property
    def nbytes(self) -> int:
        """Size."""
        return len(self)


class FakeTensorRT:
    """The module `tensorrt`, as an object.

    Args:
        cuda: where its engines run.
        version: of TensorRT; its first number decides the enums and the inspector's JSON.
        load: bytes of a model -> FakeModel; raises ValueError for what is none.

    Attributes:
        engines: those that have not been destroyed.
        builds: how many engines were built.
    """

    ILogger = FakeLogger
    IProfiler = FakeProfiler
    IProgressMonitor = FakeProgressMonitor
    TensorIOMode = _enum("TensorIOMode", "NONE", "INPUT", "OUTPUT")
    TensorLocation = _enum("TensorLocation", "DEVICE", "HOST")
    TensorFormat = _enum("TensorFormat", "LINEAR", "CHW2", "HWC8", "CHW4")
    DataType = _enum("DataType", "FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64", "INT4")
    MemoryPoolType = _enum("MemoryPoolType", "WORKSPACE", "DLA_MANAGED_SRAM", "DLA_LOCAL_DRAM", "DLA_GLOBAL_DRAM")
    ProfilingVerbosity = _enum("ProfilingVerbosity", "LAYER_NAMES_ONLY", "NONE", "DETAILED")
    LayerInformationFormat = _enum("LayerInformationFormat", "ONELINE", "JSON")
    HardwareCompatibilityLevel = _enum("HardwareCompatibilityLevel", "NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY")
    ExecutionContextAllocationStrategy = _enum("Strategy", "STATIC", "ON_PROFILE_CHANGE", "USER_MANAGED")
    DeviceType = _enum("DeviceType", "GPU", "DLA")

    def __init__(
        self,
        cuda: FakeCudart,
        *,
        version: str = "11.4.0.106",
        load: Callable[[bytes], FakeModel] | None = None,
        name: str = "tensorrt",
    ) -> None:
        self.__name__ = name
        self.__spec__ = ModuleSpec(name, None)
        self.__version__ = version
        self.major = int(version.partition(".")[0])
        self.cuda = cuda
        self.load = load or onnx_model
        self.engines: weakref.WeakSet[FakeEngine] = weakref.WeakSet()
        self.builds = 0
        self._failures: dict[str, int] = {}
        self._logger: FakeLogger | None = None
        creation = ("EXPLICIT_BATCH",) if self.major < 11 else ()
        flags = ("FP16", "BF16", "INT8") if self.major < 11 else ()
        self.NetworkDefinitionCreationFlag = _enum("NetworkDefinitionCreationFlag", *creation, "STRONGLY_TYPED")
        self.BuilderFlag = _enum(
            "BuilderFlag",
            *flags,
            *("DEBUG", "GPU_FALLBACK", "REFIT", "DISABLE_TIMING_CACHE", "TF32", "SPARSE_WEIGHTS", "VERSION_COMPATIBLE"),
            *("EXCLUDE_LEAN_RUNTIME", "DISABLE_COMPILATION_CACHE", "STRIP_PLAN", "STRICT_NANS", "DIRECT_IO"),
        )

    # What tests use.

    def fail(self, name: str, *, times: int = 1_000_000) -> None:
        """Let a call fail in TensorRT's way, so many times from now on.

        Args:
            name: "execute_async_v3" for example; "capture" is that call during a capture.
            times: how often.
        """
        self._failures[name] = times

    def mend(self) -> None:
        """Let nothing fail from now on."""
        self._failures.clear()

    def live_contexts(self) -> int:
        """Return how many execution contexts exist."""
        return sum(len(engine.contexts) for engine in self.engines)

    # What the fake's parts use.

    def fails(self, name: str) -> bool:
        """Tell whether a call shall fail now."""
        left = self._failures.get(name, 0)
        if left:
            self._failures[name] = left - 1
        return bool(left)

    def log_error(self, text: str) -> None:
        """Say through the logger what went wrong."""
        if self._logger is not None:
            self._logger.log(FakeLogger.Severity.ERROR, text)

    def log_warning(self, text: str) -> None:
        """Say through the logger what is odd."""
        if self._logger is not None:
            self._logger.log(FakeLogger.Severity.WARNING, text)

    def data_type(self, dtype: str) -> Any:
        """Return the DataType of a numpy name."""
        return self.DataType[_DATA_TYPES[dtype]]

    def _start(self, logger: FakeLogger, what: str) -> None:
        if not isinstance(logger, FakeLogger) or not getattr(logger, "initialised", False):
            raise TypeError(f"{what}(): incompatible constructor arguments")
        if "cudaGetDeviceCount" not in self.cuda.named("cudaGetDeviceCount"):
            self.cuda.fault(f"{what} is made before CUDA was asked for a GPU: without one, this ends the process")
        if self._logger not in (None, logger):
            self.log_warning("The logger passed into createInferBuilder differs from one already registered")
        self._logger = self._logger or logger

    # The module's own names.

    def Builder(self, logger: FakeLogger) -> FakeBuilder:
        """Return a builder."""
        self._start(logger, "Builder")
        if self.fails("Builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeBuilder(self)

    def OnnxParser(self, network: Any, logger: FakeLogger) -> FakeParser:
        """Return a parser into a network."""
        return FakeParser(self, network)

    def Runtime(self, logger: FakeLogger) -> FakeRuntime:
        """Return a runtime."""
        self._start(logger, "Runtime")
        if self.fails("Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeRuntime(self)

    def nptype(self, dtype: Any) -> Any:
        """Return nothing: code that relies on it fails on types that numpy does not have."""
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")

    def init_libnvinfer_plugins(self, logger: FakeLogger, namespace: str) -> bool:
        """Return True."""
        return True

    def plan(self, model: bytes, ranges: Mapping[str, Any], detailed: bool) -> HostMemory:
        """Return a serialised engine."""
        self.builds += 1
        header = {"version": self.__version__, "ranges": dict(ranges), "detailed": detailed, "size": len(model)}
        text = json.dumps(header).encode() + b"\n" + model
        return HostMemory(_MAGIC + hashlib.sha256(text).digest() + text)


class FakeRuntime:
    """A Runtime."""

    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt
        self.engine_host_code_allowed = False
        self.max_threads = 1

    def deserialize_cuda_engine(self, plan: Any) -> FakeEngine | None:
        """Return an engine, None for what is none of this version."""
        content = bytes(plan)
        text = content[len(_MAGIC) + 32 :]
        if self._trt.fails("deserialize_cuda_engine"):
            self._trt.log_error("IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (out of memory)")
            return None
        if not content:
            self._trt.log_error("Cannot deserialize with an empty memory buffer.")
            return None
        if content[: len(_MAGIC)] != _MAGIC or hashlib.sha256(text).digest() != content[len(_MAGIC) : len(_MAGIC) + 32]:
            self._trt.log_error("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.")
            return None
        head, _, model = text.partition(b"\n")
        header = json.loads(head)
        if header["version"] != self._trt.__version__:
            self._trt.log_error(
                "Error Code 1: Serialization (Serialization assertion stdVersionRead == kSERIALIZATION_VERSION)"
            )
            return None
        ranges: dict[str, Any] = {name: tuple(map(tuple, three)) for name, three in header["ranges"].items()}
        return FakeEngine(self._trt, self._trt.load(model), ranges, header["detailed"])


def onnx_model(content: bytes) -> FakeModel:
    """Return what an .onnx file computes, by ONNX Runtime on one thread.

    Raises:
        ValueError: it is no model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(str(error)) from error
    names = [node.name for node in session.get_outputs()]

    def function(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    quantized = b"QuantizeLinear" in content
    kind = "INT8" if quantized else "FP32"
    layers = [("conv + relu", "CaskConvolution", kind, kind), ("fc", "CaskGemmConvolution", kind, "FP32")]
    if quantized:
        layers.insert(0, ("input quantize", "Reformat", "FP32", "INT8"))
    return FakeModel(
        inputs=tuple(_onnx_tensor(node) for node in session.get_inputs()),
        outputs=tuple(_onnx_tensor(node) for node in session.get_outputs()),
        function=function,
        layers=tuple(layers),
    )


def _onnx_tensor(node: Any) -> FakeTensor:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return FakeTensor(name=node.name, dtype=dtype, shape=tuple(d if isinstance(d, int) else -1 for d in node.shape))
