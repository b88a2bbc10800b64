"""Memory that an engine reads and writes: page-locked host arrays, device memory, and who frees it.

Page-locked ("pinned") memory is what asynchronous copies need to be asynchronous, and what a captured copy needs to find
at the same address on every replay. On an integrated GPU (a Jetson) host and device memory are the same chips; the copies
stay, because the GPU reads pinned memory there without its cache (CUDA for Tegra, "Memory Management").
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edgecnn.runtimes.base import Array
from edgecnn.runtimes.nvidia.cudart import check


class HostBuffer:
    """Page-locked host memory; its arrays are views that must not outlive it.

    Args:
        cudart: the CUDA runtime.
        size_bytes: at least 1.

    Attributes:
        address: of the first byte.
        size_bytes: as asked for.
    """

    def __init__(self, cudart: Any, size_bytes: int) -> None:
        found = cudart.cudaHostAlloc(size_bytes, cudart.cudaHostAllocDefault)
        self.address = int(check(found, f"cudaHostAlloc of {size_bytes} bytes", cudart))
        self.size_bytes = size_bytes
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(self.address))

    def view(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return an array of that shape and numpy dtype on the first bytes.

        Raises:
            ValueError: the buffer is smaller than that.
        """
        wanted = np.dtype(dtype)
        whole: Array = self._bytes[: math.prod(shape) * wanted.itemsize].view(wanted)
        return whole.reshape(shape)


class DeviceBuffer:
    """Memory of the GPU.

    Args:
        cudart: the CUDA runtime.
        size_bytes: at least 1.

    Attributes:
        address: of the first byte, on the device.
        size_bytes: as asked for.
    """

    def __init__(self, cudart: Any, size_bytes: int) -> None:
        self.address = int(check(cudart.cudaMalloc(size_bytes), f"cudaMalloc of {size_bytes} bytes", cudart))
        self.size_bytes = size_bytes


class Memory:
    """Owns all buffers of one session, and gives them back in one call.

    Args:
        cudart: the CUDA runtime.

    Attributes:
        host_bytes: page-locked memory that it holds.
        device_bytes: device memory that it holds.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self._frees: list[Callable[[], Any]] = []
        self.host_bytes = 0
        self.device_bytes = 0

    def host(self, size_bytes: int) -> HostBuffer:
        """Return page-locked memory.

        Raises:
            InferenceError: there is none left.
        """
        buffer = HostBuffer(self._cudart, size_bytes)
        self._frees.append(lambda: self._cudart.cudaFreeHost(buffer.address))
        self.host_bytes += size_bytes
        return buffer

    def device(self, size_bytes: int) -> DeviceBuffer:
        """Return device memory, aligned to 256 bytes as cudaMalloc promises.

        Raises:
            InferenceError: the GPU has none left.
        """
        buffer = DeviceBuffer(self._cudart, size_bytes)
        self._frees.append(lambda: self._cudart.cudaFree(buffer.address))
        self.device_bytes += size_bytes
        return buffer

    def close(self) -> None:
        """Free everything, newest first; views of host buffers are invalid from here on.

        What CUDA says to it is not raised: a context that an earlier kernel broke refuses every call from then on, and
        that error has been raised where it appeared.
        """
        free_all(self._frees)
        self.host_bytes = self.device_bytes = 0


def free_all(frees: list[Callable[[], Any]]) -> None:
    """Call and drop what frees things, newest first, each in spite of what the others raise."""
    while frees:
        free = frees.pop()
        try:
            free()
        except Exception:
            continue


def size_bytes(shape: Iterable[int], dtype: str) -> int:
    """Return the bytes of an array of that shape and numpy dtype, at least 1."""
    return max(1, math.prod(shape) * np.dtype(dtype).itemsize)
