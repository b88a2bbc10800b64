# ruff: noqa: N801, N815 (the names are CUDA's)
"""Errors, kinds and handles of the fake CUDA runtime (`fakecuda.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Work = Callable[[], None]


class cudaError_t(IntEnum):
    """The errors that tests need; numbers as in driver_types.h."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInitializationError = 3
    cudaErrorInvalidMemcpyDirection = 21
    cudaErrorStubLibrary = 34
    cudaErrorInsufficientDriver = 35
    cudaErrorCallRequiresNewerDriver = 36
    cudaErrorDevicesUnavailable = 46
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorNoKernelImageForDevice = 209
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719
    cudaErrorSystemNotReady = 802
    cudaErrorSystemDriverMismatch = 803
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901
    cudaErrorIllegalState = 401
    cudaErrorUnknown = 999


class cudaMemcpyKind(IntEnum):
    """Directions of a copy."""

    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3
    cudaMemcpyDefault = 4


class cudaStreamCaptureMode(IntEnum):
    """What other calls may do during a capture."""

    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class cudaDeviceAttr(IntEnum):
    """Attributes of a device; number as in driver_types.h."""

    cudaDevAttrComputeMode = 20


@dataclass(slots=True, kw_only=True)
class FakeDevice:
    """What cudaGetDeviceProperties tells.

    Attributes:
        name: of the GPU.
        major: of its compute capability.
        minor: of its compute capability.
        multiProcessorCount: streaming multiprocessors.
        totalGlobalMem: bytes.
        integrated: 1 for a GPU that shares the machine's memory.
        compute_mode: 0 default, 2 closed to programs.
    """

    name: bytes = b"Fake GPU"
    major: int = 8
    minor: int = 6
    multiProcessorCount: int = 4
    totalGlobalMem: int = 1 << 30
    integrated: int = 0
    compute_mode: int = 0


class Fault(Exception):
    """Work that a GPU could not do; carries the error that synchronising returns."""

    def __init__(self, code: cudaError_t, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Allocation:
    """A piece of memory: "host" or "device", bytes, and the bytes themselves."""

    kind: str
    size: int
    memory: Any


@dataclass(slots=True, eq=False)
class FakeStream:
    """A stream; work waits in it until it is synchronised."""

    handle: int
    queue: list[Work] = field(default_factory=list)
    capture: FakeGraph | None = None
    capture_thread: int = 0
    spoilt: bool = False

    def __int__(self) -> int:
        return self.handle


@dataclass(slots=True, eq=False)
class FakeGraph:
    """Captured work, with the addresses that it had then."""

    work: list[Work] = field(default_factory=list)
    launches: int = 0
