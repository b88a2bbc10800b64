# ruff: noqa: D102, N802, N815 (the names are CUDA's, and so are their meanings)
"""A stand-in for `cuda.bindings.runtime` on machines without a GPU, strict where the real one forgives.

Device memory is host memory of its own, kept in a table of allocations. Work on a stream waits in a queue until the stream
is synchronised, so that code which reads results too early, frees memory too early or reuses an input too early is seen.
Every address that work touches is looked up in the table when the work is done, as a GPU would. What is wrong is returned
as a cudaError_t, as CUDA does, and is also listed in `faults`, so that a test sees it where the code under test swallows it.
"""

from __future__ import annotations

import threading
from importlib.machinery import ModuleSpec
from typing import Any

from edgecnn.testing import fakecudatypes as types
from edgecnn.testing.fakecudatypes import (
    FakeDevice,
    FakeGraph,
    FakeStream,
    Fault,
    cudaDeviceAttr,
    cudaError_t,
    cudaMemcpyKind,
    cudaStreamCaptureMode,
)
from edgecnn.testing.fakegpu import FakeGpu

__all__ = ["FakeCudart", "FakeDevice", "Fault"]


class FakeCudart(FakeGpu):
    """The module `cuda.bindings.runtime`, as an object.

    Arguments and attributes are those of `FakeGpu`.
    """

    __name__ = "cuda.bindings.runtime"
    __spec__ = ModuleSpec("cuda.bindings.runtime", None)
    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaDeviceAttr = cudaDeviceAttr
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    # Versions and devices.

    def cudaGetErrorName(self, error: types.cudaError_t) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, error.name.encode()

    def cudaGetErrorString(self, error: types.cudaError_t) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, f"text of {error.name}".encode()

    def cudaGetLastError(self) -> tuple[Any, ...]:
        self.calls.append(("cudaGetLastError", ()))
        return (self._broken or cudaError_t.cudaSuccess,)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, self._versions[0]

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        return cudaError_t.cudaSuccess, self._versions[1]

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        error = self._call("cudaGetDeviceCount")
        return (error, None) if error else (error, len(self._devices))

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        error = self._call("cudaGetDeviceProperties", device) or self._no_device(device)
        return (error, None) if error else (error, self._devices[device])

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[Any, ...]:
        error = self._call("cudaDeviceGetAttribute", attribute, device) or self._no_device(device)
        return (error, None) if error else (error, self._devices[device].compute_mode)

    def cudaDeviceGetPCIBusId(self, length: int, device: int) -> tuple[Any, ...]:
        error = self._call("cudaDeviceGetPCIBusId", length, device) or self._no_device(device)
        return (error, None) if error else (error, f"0000:0{device + 1}:00.0".encode().ljust(length, b"\0"))

    def cudaGetDevice(self) -> tuple[Any, ...]:
        error = self._call("cudaGetDevice")
        return (error, None) if error else (error, getattr(self._here, "device", 0))

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        error = self._call("cudaSetDevice", device) or self._no_device(device)
        if not error:
            self._here.device = device
        return (error,)

    def _no_device(self, device: int) -> types.cudaError_t:
        known = 0 <= device < len(self._devices)
        return cudaError_t.cudaSuccess if known else cudaError_t.cudaErrorInvalidDevice

    # Memory.

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", "device", size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._allocate("cudaHostAlloc", "host", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._give_back("cudaFree", "device", address)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._give_back("cudaFreeHost", "host", address)

    def cudaMemcpyAsync(
        self, target: int, source: int, count: int, kind: types.cudaMemcpyKind, stream: Any
    ) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaMemcpyAsync", target, source, count, kind, int(stream))
            kinds = {1: ("device", "host"), 2: ("host", "device"), 3: ("device", "device")}.get(int(kind))
            if error or kinds is None:
                return (error or cudaError_t.cudaErrorInvalidMemcpyDirection,)
            to, from_ = kinds

            def copy() -> None:
                # A copy from memory that is not page-locked is not asynchronous; here it is no known address.
                self.memory(target, count, to)[:] = self.memory(source, count, from_)

            if not self.enqueue(int(stream), copy):
                return (cudaError_t.cudaErrorInvalidResourceHandle,)
            return (error,)

    # Streams and graphs.

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaStreamCreateWithFlags", flags)
            if error:
                return error, None
            self._next_handle += 0x10
            stream = self._streams[self._next_handle] = FakeStream(self._next_handle)
            return error, stream

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaStreamSynchronize", int(stream))
            found = self._streams.get(int(stream))
            if error or found is None:
                return (error or cudaError_t.cudaErrorInvalidResourceHandle,)
            if found.capture is not None:
                found.spoilt = True
                self.fault("cudaStreamSynchronize during a capture")
                return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
            return (self._drain(found),)

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaStreamDestroy", int(stream))
            found = self._streams.get(int(stream))
            if error and error is not self._broken:
                return (error,)
            if found is None:
                self.fault(f"cudaStreamDestroy({int(stream):#x}): no such stream")
                return (cudaError_t.cudaErrorInvalidResourceHandle,)
            self._drain(found)
            del self._streams[int(stream)]
            return (error,)

    def cudaStreamBeginCapture(self, stream: Any, mode: types.cudaStreamCaptureMode) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaStreamBeginCapture", int(stream), mode)
            found = self._streams.get(int(stream))
            if error or found is None or found.capture is not None:
                return (error or cudaError_t.cudaErrorStreamCaptureUnsupported,)
            found.capture, found.capture_thread, found.spoilt = FakeGraph(), threading.get_ident(), False
            return (error,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaStreamEndCapture", int(stream))
            found = self._streams.get(int(stream))
            if found is None or found.capture is None:
                return cudaError_t.cudaErrorIllegalState, None
            graph, found.capture = found.capture, None
            if error or found.spoilt:
                return error or cudaError_t.cudaErrorStreamCaptureInvalidated, None
            self._graphs.add(graph)
            return error, graph

    def cudaGraphInstantiate(self, graph: FakeGraph, flags: int) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaGraphInstantiate", graph, flags)
            if error or graph not in self._graphs:
                return error or cudaError_t.cudaErrorInvalidValue, None
            executable = FakeGraph(list(graph.work))
            self._executables.add(executable)
            return error, executable

    def cudaGraphDestroy(self, graph: FakeGraph) -> tuple[Any, ...]:
        return self._drop("cudaGraphDestroy", self._graphs, graph)

    def cudaGraphExecDestroy(self, executable: FakeGraph) -> tuple[Any, ...]:
        return self._drop("cudaGraphExecDestroy", self._executables, executable)

    def _drop(self, name: str, known: set[FakeGraph], graph: FakeGraph) -> tuple[Any, ...]:
        with self._lock:
            error = self._call(name, graph)
            if error and error is not self._broken:
                return (error,)
            if graph not in known:
                self.fault(f"{name}: destroyed twice, or never made")
                return (cudaError_t.cudaErrorInvalidValue,)
            known.remove(graph)
            return (error,)

    def cudaGraphLaunch(self, executable: FakeGraph, stream: Any) -> tuple[Any, ...]:
        with self._lock:
            error = self._call("cudaGraphLaunch", executable, int(stream))
            found = self._streams.get(int(stream))
            if error or found is None or executable not in self._executables:
                return (error or cudaError_t.cudaErrorInvalidValue,)
            executable.launches += 1
            found.queue.extend(executable.work)
            return (error,)
