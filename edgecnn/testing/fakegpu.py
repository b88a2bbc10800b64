"""The machinery of the fake CUDA runtime (`fakecuda.py`): its memory, its queues of work, and failing on demand."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from typing import Any

from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.testing.fakecudatypes import Allocation, FakeDevice, FakeGraph, FakeStream, Fault, Work, cudaError_t

FAKE_GPU = CudaDevice(
    ordinal=0,
    name="Fake GPU",
    compute_capability=(9, 0),
    multiprocessors=132,
    memory_bytes=1 << 37,
    integrated=False,
    pci_bus_id="0000:01:00.0",
    driver_version="13.0",
    runtime_version="13.0",
)
"""A GPU as the CUDA runtime describes it, for what only reads the description."""


class FakeGpu:
    """A machine's GPUs and what is on them.

    Args:
        devices: the GPUs of the machine.
        driver_version: 1000 * major + 10 * minor of the driver's CUDA; 0 is a machine without driver.
        runtime_version: likewise, of the runtime.

    Attributes:
        calls: (name, arguments) of every call, in order, of all threads.
        faults: what was done wrong, in words; empty for correct code.
    """

    def __init__(
        self,
        devices: Sequence[FakeDevice] = (FakeDevice(),),
        *,
        driver_version: int = 13000,
        runtime_version: int = 13000,
    ) -> None:
        self._devices = list(devices)
        self._versions = (driver_version, runtime_version)
        self._lock = threading.RLock()
        self._here = threading.local()
        self._pid = os.getpid()
        self._table: dict[int, Allocation] = {}
        self._graveyard: list[tuple[int, Allocation]] = []
        self._streams: dict[int, FakeStream] = {}
        self._graphs: set[FakeGraph] = set()
        self._executables: set[FakeGraph] = set()
        self._next_handle = 0x5000
        self._failures: dict[str, list[tuple[int, cudaError_t]]] = {}
        self._counts: dict[str, int] = {}
        self._broken: cudaError_t | None = None
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.faults: list[str] = []

    def fail(self, name: str, code: int, *, at: int = 1) -> None:
        """Let a call fail.

        Args:
            name: "cudaMalloc" for example.
            code: number of the cudaError_t that it returns instead of doing anything.
            at: which call from now on, 1 for the next; 0 for all of them.
        """
        with self._lock:
            number = self._counts.get(name, 0) + at if at else 0
            self._failures.setdefault(name, []).append((number, cudaError_t(code)))

    def mend(self) -> None:
        """Let nothing fail from now on."""
        self._failures.clear()

    def live(self) -> list[str]:
        """Return what has not been given back yet, in words; empty after a clean close."""
        memory = [f"{one.kind} memory of {one.size} bytes" for one in self._table.values()]
        streams = [f"stream {handle:#x}" for handle in self._streams]
        return [*memory, *streams, *["graph"] * len(self._graphs), *["executable graph"] * len(self._executables)]

    def named(self, *names: str) -> list[str]:
        """Return the names of the calls so far in order, of those names only."""
        return [name for name, _ in self.calls if name in names]

    def enqueue(self, stream: int, work: Work) -> bool:
        """Put work on a stream, or into the graph that is being captured there; False where the stream is none."""
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                self.fault(f"work on stream {stream:#x}, " + ("the default stream" if not stream else "which is none"))
                return False
            self._put(found, work)
            return True

    def is_capturing(self, stream: int) -> bool:
        """Tell whether work on this stream goes into a graph now."""
        found = self._streams.get(stream)
        return found is not None and found.capture is not None

    def spoil_capture(self, stream: int) -> None:
        """Make a running capture worthless, as a forbidden call does."""
        self._streams[stream].spoilt = True

    def memory(self, address: int, size: int, kind: str = "device") -> memoryview:
        """Return the bytes at an address.

        Raises:
            Fault: they are not inside one live allocation of that kind.
        """
        for base, one in self._table.items():
            if base <= address and address + size <= base + one.size:
                if one.kind != kind:
                    raise Fault(cudaError_t.cudaErrorIllegalAddress, f"{one.kind} address where {kind} is needed")
                return memoryview(one.memory).cast("B")[address - base : address - base + size]
        raise Fault(cudaError_t.cudaErrorIllegalAddress, self._where(address, size))

    def fault(self, text: str) -> None:
        """Note that something was done wrong."""
        self.faults.append(text)

    def _where(self, address: int, size: int) -> str:
        for base, one in self._graveyard:
            if base <= address < base + one.size:
                return f"{one.kind} memory is used after it was freed"
        for base, one in self._table.items():
            if base <= address < base + one.size:
                return f"{size} bytes at {address - base} of {one.kind} memory of {one.size}"
        return f"{size} bytes at {address:#x}, which nobody allocated"

    def _call(self, name: str, *arguments: Any) -> cudaError_t:
        """Note a call; return why it fails before it does anything."""
        self.calls.append((name, arguments))
        self._counts[name] = self._counts.get(name, 0) + 1
        if os.getpid() != self._pid:
            self.fault(f"{name} in the child of a fork")
            return cudaError_t.cudaErrorInitializationError
        for number, code in self._failures.get(name, ()):
            if number in (0, self._counts[name]):
                return code
        if not self._versions[0]:
            return cudaError_t.cudaErrorInsufficientDriver
        if not self._devices:
            return cudaError_t.cudaErrorNoDevice
        return self._broken or cudaError_t.cudaSuccess

    def _forbidden_now(self, name: str) -> bool:
        """Tell whether this thread is capturing, which this call spoils."""
        for stream in self._streams.values():
            if stream.capture is not None and stream.capture_thread == threading.get_ident():
                stream.spoilt = True
                self.fault(f"{name} during a capture")
                return True
        return False

    def _allocate(self, name: str, kind: str, size: int) -> tuple[Any, ...]:
        with self._lock:
            error = self._call(name, size)
            if not error and self._forbidden_now(name):
                error = cudaError_t.cudaErrorStreamCaptureUnsupported
            if not error and size < 1:
                error = cudaError_t.cudaErrorInvalidValue
            if error:
                return error, None
            raw = ctypes.create_string_buffer(size + 256)
            address = -(-ctypes.addressof(raw) // 256) * 256
            # Fresh memory holds what nobody should read: 0xCB is a large negative float.
            ctypes.memset(address, 0xCB, size)
            view = (ctypes.c_char * size).from_buffer(raw, address - ctypes.addressof(raw))
            self._table[address] = Allocation(kind, size, view)
            return error, address

    def _give_back(self, name: str, kind: str, address: int) -> tuple[Any, ...]:
        with self._lock:
            error = self._call(name, address)
            if not error and self._forbidden_now(name):
                error = cudaError_t.cudaErrorStreamCaptureUnsupported
            if error and error is not self._broken:
                return (error,)
            found = self._table.get(address)
            if found is None or found.kind != kind:
                self.fault(f"{name}({address:#x}): " + self._where(address, 1))
                return (cudaError_t.cudaErrorInvalidValue,)
            del self._table[address]
            self._drain()  # both calls wait for the device
            ctypes.memset(address, 0xA5, found.size)
            self._graveyard.append((address, found))
            return (error,)

    def _put(self, stream: FakeStream, work: Work) -> None:
        if stream.capture is not None:
            stream.capture.work.append(work)
        else:
            stream.queue.append(work)

    def _drain(self, stream: FakeStream | None = None) -> cudaError_t:
        """Do what waits on one stream, or on all; a fault breaks CUDA for good, as on a GPU."""
        for one in [stream] if stream is not None else list(self._streams.values()):
            while one.queue and self._broken is None:
                work = one.queue.pop(0)
                try:
                    work()
                except Fault as fault:
                    self.fault(str(fault))
                    self._broken = fault.code
            one.queue.clear()
        return self._broken or cudaError_t.cudaSuccess
