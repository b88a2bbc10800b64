"""The running half of the fake TensorRT (`faketrt.py`): engine, execution context, inspector.

A context computes by the model's own function when the fake stream is synchronised, on the bytes at the addresses that it
was given, after it has filled its scratch memory with rubbish. What TensorRT leaves undefined is a fault here: a graph that
is replayed after its context was changed, a context that is gone before its work ran.
"""

from __future__ import annotations

import json
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.runtimes.base import Array
from edgecnn.testing.fakecudatypes import Fault, cudaError_t
from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor, Shape

if TYPE_CHECKING:
    from edgecnn.testing.faketrt import FakeTensorRT

SCRATCH_BYTES = 4096
"""What every context needs."""


class FakeEngine:
    """An ICudaEngine.

    Args:
        trt: the fake module.
        model: what it computes.
        ranges: input name -> smallest, best and largest shape, of the one profile.
        detailed: it was built with profiling verbosity DETAILED.
    """

    def __init__(
        self, trt: FakeTensorRT, model: FakeModel, ranges: Mapping[str, tuple[Shape, Shape, Shape]], detailed: bool
    ) -> None:
        self.trt = trt
        self.model = model
        self.ranges = dict(ranges)
        self.detailed = detailed
        self.device_memory_size_v2 = SCRATCH_BYTES
        self.num_optimization_profiles = 1
        self.refittable = False
        self.name = "fake"
        self._tensors = {one.name: one for one in (*model.inputs, *model.outputs)}
        self.contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()
        trt.engines.add(self)

    def __del__(self) -> None:
        self.trt.cuda.calls.append(("~ICudaEngine", ()))

    @property
    def num_io_tensors(self) -> int:
        """How many inputs and outputs."""
        return len(self._tensors)

    @property
    def num_layers(self) -> int:
        """How many layers."""
        return len(self.model.layers)

    def get_tensor_name(self, index: int) -> str:
        """Return the name of an input or output."""
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        """Return INPUT, OUTPUT or NONE."""
        modes = self.trt.TensorIOMode
        if name not in self._tensors:
            return modes.NONE
        return modes.INPUT if any(one.name == name for one in self.model.inputs) else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        """Return the DataType."""
        return self.trt.data_type(self._tensors[name].dtype)

    def get_tensor_shape(self, name: str) -> Shape:
        """Return the shape, -1 where it is free."""
        return self._tensors[name].shape

    def get_tensor_location(self, name: str) -> Any:
        """Return DEVICE."""
        return self.trt.TensorLocation.DEVICE

    def get_tensor_format(self, name: str) -> Any:
        """Return LINEAR."""
        return self.trt.TensorFormat.LINEAR

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        """Return smallest, best and largest shape."""
        if self.trt.fails("get_tensor_profile_shape"):
            return []
        return list(self.ranges[name])

    def create_execution_context(self, strategy: Any = None) -> FakeContext | None:
        """Return a context, None where there is no memory."""
        if self.trt.fails("create_execution_context"):
            self.trt.log_error("createExecutionContext: Error Code 2: OutOfMemory (Requested size was 4096 bytes.)")
            return None
        return FakeContext(self, strategy == self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def create_engine_inspector(self) -> FakeInspector | None:
        """Return an inspector."""
        return None if self.trt.fails("create_engine_inspector") else FakeInspector(self)


class FakeContext:
    """An IExecutionContext.

    Args:
        engine: what it runs.
        user_managed: it has no scratch memory of its own.
    """

    def __init__(self, engine: FakeEngine, user_managed: bool) -> None:
        self._engine = engine
        self._trt = engine.trt
        self._shapes = {one.name: one.shape for one in engine.model.inputs if -1 not in one.shape}
        self._addresses: dict[str, int] = {}
        self._scratch: tuple[int, int] | None = None
        self._user_managed = user_managed
        # Counts changes: a graph is good for the state at its capture only.
        self._state = 0
        self._ran = False
        self._busy = threading.Lock()
        self._profiler: Any = None
        self.enqueue_emits_profile = True
        engine.contexts.add(self)

    def __del__(self) -> None:
        self._trt.cuda.calls.append(("~IExecutionContext", ()))

    @property
    def profiler(self) -> Any:
        """What gets the layers' times."""
        return self._profiler

    @profiler.setter
    def profiler(self, value: Any) -> None:
        if not isinstance(value, self._trt.IProfiler):
            raise TypeError("profiler is no IProfiler")
        self._profiler = value
        self._state += 1

    def set_device_memory(self, address: int, size: int) -> None:
        """Set the scratch memory."""
        self._note("set_device_memory")
        self._scratch = (address, size)
        self._state += 1

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Set an input's shape; False outside the profile."""
        self._note("set_input_shape")
        smallest, _, largest = self._engine.ranges[name]
        fits = len(shape) == len(largest) and all(
            low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)
        )
        if self._trt.fails("set_input_shape") or not fits:
            self._trt.log_error(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error ({name}: {shape})")
            return False
        self._shapes[name] = tuple(shape)
        self._state += 1
        self._ran = False
        return True

    def infer_shapes(self) -> list[str]:
        """Return the names of the inputs whose shape is missing."""
        self._note("infer_shapes")
        if self._trt.fails("infer_shapes"):
            return [self._engine.model.inputs[0].name]
        return [one.name for one in self._engine.model.inputs if one.name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Shape:
        """Return a shape as far as it is known."""
        if name in self._shapes:
            return self._shapes[name]
        if self._trt.fails("get_tensor_shape") or len(self._shapes) < len(self._engine.model.inputs):
            return self._engine.get_tensor_shape(name)
        return self._engine.model.output_shapes(self._shapes)[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Set where a tensor lies."""
        self._note("set_tensor_address")
        if self._trt.fails("set_tensor_address") or not address:
            return False
        self._addresses[name] = address
        self._state += 1
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Put one run on a stream."""
        self._note("execute_async_v3")
        if type(stream) is not int:
            raise TypeError("execute_async_v3(): incompatible function arguments")
        if not self._busy.acquire(blocking=False):
            self._trt.cuda.fault("two threads use one execution context")
            return False
        try:
            time.sleep(0)  # lets other threads in, as the real call does
            return self._enqueue(stream)
        finally:
            self._busy.release()

    def _enqueue(self, stream: int) -> bool:
        cuda, engine = self._trt.cuda, self._engine
        missing = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)} - set(self._addresses)
        capturing = cuda.is_capturing(stream)
        if self._trt.fails("execute_async_v3"):
            return self._refuse("Error Code 1: Cuda Runtime (invalid argument)")
        if missing or len(self._shapes) < len(self._engine.model.inputs):
            return self._refuse(f"Error Code 3: API Usage Error (no address or shape: {sorted(missing)})")
        if self._user_managed and (self._scratch is None or self._scratch[1] < SCRATCH_BYTES):
            return self._refuse("Error Code 3: API Usage Error (no device memory)")
        if capturing and (not self._ran or self._trt.fails("capture")):
            cuda.spoil_capture(stream)
            return self._refuse("Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)")
        if not capturing:
            self._ran = True
        return cuda.enqueue(stream, self._work(capturing))

    def _refuse(self, text: str) -> bool:
        self._trt.log_error(f"IExecutionContext::enqueueV3: {text}")
        return False

    def _work(self, captured: bool) -> Callable[[], None]:
        itself, state = weakref.ref(self), self._state
        shapes, addresses, scratch = dict(self._shapes), dict(self._addresses), self._scratch
        cuda, model = self._trt.cuda, self._engine.model

        def work() -> None:
            context = itself()
            if context is None:
                raise Fault(cudaError_t.cudaErrorIllegalAddress, "an execution context is gone before its work is done")
            if captured and context._state != state:
                raise Fault(cudaError_t.cudaErrorLaunchFailure, "a graph is replayed after its context was changed")
            if scratch is not None:
                cuda.memory(*scratch)[:] = b"\xee" * scratch[1]
            feeds = {one.name: _array(cuda, one, shapes[one.name], addresses[one.name]).copy() for one in model.inputs}
            for name, value in model.function(feeds).items():
                tensor = next(one for one in model.outputs if one.name == name)
                _array(cuda, tensor, np.shape(value), addresses[name])[...] = value
            context._report()

        return work

    def _report(self) -> None:
        if self._profiler is not None and self.enqueue_emits_profile:
            for i, layer in enumerate(self._engine.model.layers):
                self._profiler.report_layer_time(layer[0], 0.001 * (i + 1))

    def _note(self, name: str) -> None:
        self._trt.cuda.calls.append((name, ()))


class FakeInspector:
    """An EngineInspector; its JSON has the form of the fake module's version."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.execution_context: FakeContext | None = None

    def get_engine_information(self, layout: Any) -> str:
        """Return all layers as JSON."""
        engine = self._engine
        if engine.trt.fails("get_engine_information"):
            return "{"
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        layers = [self._layer(*one) if engine.detailed else one[0] for one in engine.model.layers]
        if engine.trt.major < 11:
            return json.dumps({"Layers": layers, "Bindings": names})
        tensors = [{"Name": name, "DataType": "Float", "Location": "Device"} for name in names]
        return json.dumps({"Layers": layers, "I/O Tensors": tensors})

    def _layer(self, name: str, kind: str, source: str, target: str) -> dict[str, Any]:
        return {
            "Name": name,
            "LayerType": kind,
            "Inputs": [self._tensor(f"{name} in", source)],
            "Outputs": [self._tensor(f"{name} out", target)],
            "TacticName": "fake_kernel",
        }

    def _tensor(self, name: str, words: str) -> dict[str, Any]:
        free = any(-1 in one.shape for one in self._engine.model.inputs)
        if free and self.execution_context is None:
            words = "N/A due to dynamic shapes"
        if self._engine.trt.major < 11:
            return {"Name": name, "Format/Datatype": f"Row major linear {words} format"}
        return {"Name": name, "Format": "Row major linear format (kLINEAR)", "Datatype": words}


def _array(cuda: Any, tensor: FakeTensor, shape: Shape, address: int) -> Array:
    wanted = np.dtype(tensor.dtype)
    found: Array = np.frombuffer(cuda.memory(address, math.prod(shape) * wanted.itemsize), wanted)
    return found.reshape(shape)
