"""NVML without a package: the few functions that edgecnn calls, by ctypes, under the names that NVIDIA's binding gives them.

Source of functions, structures and codes: NVIDIA, NVML API reference, and nvml.h of CUDA 12. A function that a driver is too
old for raises `NVMLError_FunctionNotFound`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

LIBRARY = "libnvidia-ml.so.1"

_CODES = {
    1: "Uninitialized",
    2: "InvalidArgument",
    3: "NotSupported",
    4: "NoPermission",
    6: "NotFound",
    7: "InsufficientSize",
    9: "DriverNotLoaded",
    10: "Timeout",
    12: "LibraryNotFound",
    13: "FunctionNotFound",
    15: "GpuIsLost",
    18: "LibRmVersionMismatch",
    999: "Unknown",
}
"""nvmlReturn_t -> name, of those that somebody can do something about."""

_INSUFFICIENT_SIZE, _FUNCTION_NOT_FOUND, _LIBRARY_NOT_FOUND = 7, 13, 12

_NOT_TOLD = (1 << 64) - 1
# NVML_VALUE_NOT_AVAILABLE.

_NAME_BYTES = 96
_BUS_ID_BYTES = 32
# NVML_DEVICE_NAME_V2_BUFFER_SIZE and NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE.


class NVMLError(Exception):
    """NVML said no.

    Args:
        value: its code.
        text: what it says of that.

    Attributes:
        value: its code.
    """

    def __init__(self, value: int = 999, text: str = "") -> None:
        super().__init__(text or f"NVML error {value}")
        self.value = value


_ERRORS: dict[int, type[NVMLError]] = {
    code: type(f"NVMLError_{name}", (NVMLError,), {"__doc__": f"NVML: {name}."}) for code, name in _CODES.items()
}


class _PciInfo(ctypes.Structure):
    """nvmlPciInfo_t of nvmlDeviceGetPciInfo_v3."""

    _fields_ = (
        ("busIdLegacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pciDeviceId", ctypes.c_uint),
        ("pciSubSystemId", ctypes.c_uint),
        ("busId", ctypes.c_char * _BUS_ID_BYTES),
    )


class _Value(ctypes.Union):
    """nvmlValue_t."""

    _fields_ = (("dVal", ctypes.c_double), ("uiVal", ctypes.c_uint), ("ullVal", ctypes.c_ulonglong))


class _FieldValue(ctypes.Structure):
    """nvmlFieldValue_t."""

    _fields_ = (
        ("fieldId", ctypes.c_uint),
        ("scopeId", ctypes.c_uint),
        ("timestamp", ctypes.c_longlong),
        ("latencyUsec", ctypes.c_longlong),
        ("valueType", ctypes.c_int),
        ("nvmlReturn", ctypes.c_int),
        ("value", _Value),
    )


class _ProcessInfo(ctypes.Structure):
    """nvmlProcessInfo_t of nvmlDeviceGetComputeRunningProcesses_v3."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("usedGpuMemory", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
    )


class Nvml:
    """The driver's library; its methods have the names and answers of NVIDIA's binding `pynvml`.

    Args:
        library: the loaded library.
    """

    NVMLError = NVMLError

    def __init__(self, library: Any) -> None:
        self._library = library

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's names, here and below)
        """Open NVML; it counts how often."""
        self._call("nvmlInit_v2")

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Close it once."""
        self._call("nvmlShutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return how many GPUs there are."""
        return int(self._told(ctypes.c_uint(), "nvmlDeviceGetCount_v2").value)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> ctypes.c_void_p:  # noqa: N802
        """Return a GPU by its number in the order of PCI addresses."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> ctypes.c_void_p:  # noqa: N802
        """Return a GPU by its PCI address."""
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByPciBusId_v2", ctypes.c_char_p(bus_id.encode()), ctypes.byref(handle))
        return handle

    def nvmlDeviceGetPciInfo(self, handle: ctypes.c_void_p) -> SimpleNamespace:  # noqa: N802
        """Return the PCI address as `busId`."""
        return SimpleNamespace(busId=self._told(_PciInfo(), "nvmlDeviceGetPciInfo_v3", handle).busId.decode())

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p) -> str:  # noqa: N802
        """Return the GPU's name."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("nvmlDeviceGetName", handle, name, ctypes.c_uint(_NAME_BYTES))
        return name.value.decode(errors="replace")

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p) -> int:  # noqa: N802
        """Return millijoules since the driver was loaded."""
        return int(self._told(ctypes.c_ulonglong(), "nvmlDeviceGetTotalEnergyConsumption", handle).value)

    def nvmlDeviceGetPowerUsage(self, handle: ctypes.c_void_p) -> int:  # noqa: N802
        """Return milliwatts."""
        return int(self._told(ctypes.c_uint(), "nvmlDeviceGetPowerUsage", handle).value)

    def nvmlDeviceGetFieldValues(self, handle: ctypes.c_void_p, fields: Sequence[tuple[int, int]]) -> list[_FieldValue]:  # noqa: N802
        """Return the values of fields given as (field, scope); each says in `nvmlReturn` whether it is known."""
        values = (_FieldValue * len(fields))(*(_FieldValue(fieldId=one, scopeId=scope) for one, scope in fields))
        self._call("nvmlDeviceGetFieldValues", handle, ctypes.c_int(len(fields)), values)
        return list(values)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: ctypes.c_void_p) -> list[SimpleNamespace]:  # noqa: N802
        """Return the processes on the GPU: `pid`, and `usedGpuMemory` in bytes or None."""
        name, count = "nvmlDeviceGetComputeRunningProcesses_v3", ctypes.c_uint(0)
        try:
            self._call(name, handle, ctypes.byref(count), None)
        except _ERRORS[_INSUFFICIENT_SIZE]:
            pass
        # More may have been started since they were counted.
        count = ctypes.c_uint(2 * count.value + 4)
        found = (_ProcessInfo * count.value)()
        self._call(name, handle, ctypes.byref(count), found)
        return [
            SimpleNamespace(pid=one.pid, usedGpuMemory=None if one.usedGpuMemory == _NOT_TOLD else one.usedGpuMemory)
            for one in found[: count.value]
        ]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: ctypes.c_void_p) -> int:  # noqa: N802
        """Return the bits that say why the clocks are held back; under the older name where the driver has only that."""
        bits = ctypes.c_ulonglong()
        try:
            return int(self._told(bits, "nvmlDeviceGetCurrentClocksEventReasons", handle).value)
        except _ERRORS[_FUNCTION_NOT_FOUND]:
            return int(self._told(bits, "nvmlDeviceGetCurrentClocksThrottleReasons", handle).value)

    def _told(self, answer: Any, name: str, *arguments: Any) -> Any:
        """Return an answer that NVML writes through its last argument."""
        self._call(name, *arguments, ctypes.byref(answer))
        return answer

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function: Callable[..., int] = getattr(self._library, name)
        except AttributeError:
            raise _ERRORS[_FUNCTION_NOT_FOUND](_FUNCTION_NOT_FOUND, f"this driver has no {name}") from None
        code = int(function(*arguments))
        if code:
            raise _ERRORS.get(code, NVMLError)(code, self._text(code))

    def _text(self, code: int) -> str:
        try:
            explain = self._library.nvmlErrorString
            explain.restype = ctypes.c_char_p
            return str((explain(ctypes.c_int(code)) or b"").decode(errors="replace"))
        except (AttributeError, UnicodeDecodeError):
            return ""


@cache
def load_nvml() -> Nvml:
    """Return the driver's library, loaded once.

    Raises:
        NVMLError: there is none.
    """
    try:
        return Nvml(ctypes.CDLL(LIBRARY))
    except OSError:
        raise _ERRORS[_LIBRARY_NOT_FOUND](_LIBRARY_NOT_FOUND, f"no {LIBRARY}: there is no NVIDIA driver") from None
