"""NVML by ctypes against a library of Python functions with C's manners: answers through pointers, codes as results."""

# ruff: noqa: N802 (names of NVML)

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from edgecnn.devices.cudagpu import cuda_address
from edgecnn.devices.nvml import Nvml, NVMLError, load_nvml
from edgecnn.devices.sensors.nvml import nvml_meters
from edgecnn.errors import SensorAbsent, SensorUnavailable

_POWER_INSTANT = 186
_HANDLE = 0x7F00_0000_1000


class _Text:
    """A C function that returns a string; ctypes wants its type set."""

    restype: Any = None

    def __call__(self, code: ctypes.c_int) -> bytes:
        return b"Not Supported" if code.value == 3 else b"Uninitialized"


class Library:
    """One GPU, as the driver's library shows it."""

    def __init__(self, *, energy: bool = True) -> None:
        self.nvmlErrorString = _Text()
        self.energy = energy
        self.opened = 0

    def nvmlInit_v2(self) -> int:
        self.opened += 1
        return 0

    def nvmlShutdown(self) -> int:
        self.opened -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        if not self.opened:
            return 1
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Any) -> int:
        if index.value:
            return 2
        handle._obj.value = _HANDLE
        return 0

    def nvmlDeviceGetPciInfo_v3(self, handle: ctypes.c_void_p, info: Any) -> int:
        assert handle.value == _HANDLE
        # The address of today stands behind five numbers and the address of old.
        assert ctypes.sizeof(info._obj) == 68
        ctypes.memmove(ctypes.addressof(info._obj) + 36, b"00000000:41:00.0\0", 17)
        return 0

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p, name: Any, size: ctypes.c_uint) -> int:
        assert size.value == len(name)
        name.value = b"NVIDIA H200"
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, energy: Any) -> int:
        if not self.energy:
            return 3
        energy._obj.value = 5_000_000_000_123
        return 0

    def nvmlDeviceGetFieldValues(self, handle: ctypes.c_void_p, count: ctypes.c_int, values: Any) -> int:
        (value,) = values
        assert (count.value, value.fieldId, value.scopeId) == (1, _POWER_INSTANT, 0)
        # nvmlFieldValue_t: two numbers, two long ones, type and code, then the value.
        assert ctypes.sizeof(value) == 40
        value.value.uiVal = 71_500
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: ctypes.c_void_p, count: Any, infos: Any) -> int:
        if infos is None:
            count._obj.value = 2
            return 7
        assert count._obj.value >= 2
        assert ctypes.sizeof(infos[0]) == 24
        for place, (pid, held) in enumerate(((41, 10), (42, (1 << 64) - 1))):
            infos[place].pid, infos[place].usedGpuMemory = pid, held
        count._obj.value = 2
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: ctypes.c_void_p, bits: Any) -> int:
        bits._obj.value = 0x44
        return 0


def test_a_meter_of_the_library_itself() -> None:
    library = Library()
    (meter,) = nvml_meters(Nvml(library))
    assert (meter.spec.name, meter.spec.domain, meter.spec.kind) == ("nvml:00000000:41:00.0", "NVIDIA H200", "counter")
    assert meter.values() == (5_000_000_000.123,)
    meter.close()
    assert library.opened == 0


def test_a_gpu_without_the_counter_tells_its_momentary_power() -> None:
    (meter,) = nvml_meters(Nvml(Library(energy=False)))
    assert (meter.spec.kind, meter.values()) == ("sampler", (71.5,))


def test_the_older_name_of_the_clocks_reasons() -> None:
    nvml = Nvml(Library())
    nvml.nvmlInit()
    assert nvml.nvmlDeviceGetCurrentClocksEventReasons(nvml.nvmlDeviceGetHandleByIndex(0)) == 0x44


def test_processes_and_what_they_hold() -> None:
    nvml = Nvml(Library())
    found = nvml.nvmlDeviceGetComputeRunningProcesses(ctypes.c_void_p(_HANDLE))
    assert [(one.pid, one.usedGpuMemory) for one in found] == [(41, 10), (42, None)]


def test_codes_become_errors_with_nvmls_words() -> None:
    nvml = Nvml(Library(energy=False))
    with pytest.raises(NVMLError, match="Uninitialized") as caught:
        nvml.nvmlDeviceGetCount()
    assert (type(caught.value).__name__, caught.value.value) == ("NVMLError_Uninitialized", 1)
    nvml.nvmlInit()
    with pytest.raises(NVMLError, match="Not Supported"):
        nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByIndex(0))
    with pytest.raises(NVMLError, match="this driver has no nvmlDeviceGetPowerUsage"):
        nvml.nvmlDeviceGetPowerUsage(nvml.nvmlDeviceGetHandleByIndex(0))


def test_this_machine_has_a_driver_or_says_so() -> None:
    try:
        load_nvml()
    except NVMLError as error:
        assert "libnvidia-ml.so.1" in str(error)
        assert cuda_address(0) is None
        with pytest.raises(SensorAbsent) as caught:
            nvml_meters()
        assert "install the NVIDIA driver" in caught.value.hint
    else:
        try:
            meters = nvml_meters()
        except SensorUnavailable:
            return
        assert all(meter.values()[0] >= 0 for meter in meters)
