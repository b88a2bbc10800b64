"""A stand-in for NVML (`edgecnn.devices.nvml`): GPUs of any power over time, with an energy counter that moves in steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """NVML said no; a subclass per reason."""

    def __init__(self, value: int = 999) -> None:
        super().__init__(f"error {value}")


class NVMLError_NotSupported(NVMLError):  # noqa: N801 (NVML's own name)
    """The GPU does not have that."""

    def __str__(self) -> str:
        return "Not Supported"


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801
    """There is no driver."""

    def __str__(self) -> str:
        return "NVML Shared Library Not Found"


class NVMLError_Uninitialized(NVMLError):  # noqa: N801
    """Called before the first `nvmlInit` or after the last `nvmlShutdown`."""

    def __str__(self) -> str:
        return "Uninitialized"


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801
    """The GPU fell off the bus."""

    def __str__(self) -> str:
        return "GPU is lost"


@dataclass(slots=True, kw_only=True)
class FakeGpu:
    """One GPU.

    Attributes:
        watts: constant power.
        energy: it has the energy counter.
        instant: it has the momentary power.
        usage: it has the mean power.
        lost: it fell off the bus.
        start_mj: what the counter shows at time 0.
        clock_reasons: why its clock is held back, as bits.
        processes: process number -> bytes, None where the driver hides them.
    """

    watts: float = 100.0
    energy: bool = True
    instant: bool = True
    usage: bool = True
    lost: bool = False
    start_mj: int = 0
    clock_reasons: int = 0
    processes: dict[int, int | None] = field(default_factory=dict)


class FakeNvml:
    """The functions of NVML that edgecnn calls.

    Args:
        gpus: what the driver knows.
        now_ns: the clock; the energy counter follows it in steps.
        step_s: of the energy counter.
        driver: whether there is one.

    Attributes:
        opened: `nvmlInit` less `nvmlShutdown`.
        gpus: can be changed while it is read.
    """

    NVMLError = NVMLError

    def __init__(
        self, gpus: Sequence[FakeGpu], now_ns: Callable[[], int], *, step_s: float = 0.1, driver: bool = True
    ) -> None:
        self.gpus = list(gpus)
        self.opened = 0
        self._now_ns = now_ns
        self._step_ns = round(step_s * 1e9)
        self._driver = driver

    def nvmlInit(self) -> None:  # noqa: N802
        """Open the library."""
        if not self._driver:
            raise NVMLError_LibraryNotFound
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        """Close it."""
        self._open()
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """Return the number of GPUs."""
        self._open()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        """Return a handle: the index."""
        self._open()
        return index

    def nvmlDeviceGetHandleByPciBusId(self, bus_id: str) -> int:  # noqa: N802
        """Return a handle by the PCI address."""
        self._open()
        return int(bus_id.split(":")[-2], 16) - 1

    def nvmlDeviceGetPciInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        """Return the PCI address, as bytes like older versions do."""
        return SimpleNamespace(busId=f"00000000:{handle + 1:02X}:00.0".encode())

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        """Return the name."""
        return f"Fake GPU {handle}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        """Return millijoules up to the last step of the counter."""
        gpu = self._gpu(handle)
        if not gpu.energy:
            raise NVMLError_NotSupported
        stepped_ns = self._now_ns() // self._step_ns * self._step_ns
        return gpu.start_mj + round(gpu.watts * stepped_ns / 1e6)

    def nvmlDeviceGetFieldValues(self, handle: int, fields: Sequence[tuple[int, int]]) -> list[SimpleNamespace]:  # noqa: N802
        """Return milliwatts of field 186, and "not supported" for every other."""
        gpu = self._gpu(handle)
        return [
            SimpleNamespace(
                nvmlReturn=0 if gpu.instant and field == 186 else 3,
                value=SimpleNamespace(uiVal=round(gpu.watts * 1e3)),
            )
            for field, _ in fields
        ]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        """Return milliwatts."""
        gpu = self._gpu(handle)
        if not gpu.usage:
            raise NVMLError_NotSupported
        return round(gpu.watts * 1e3)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        """Return the processes on the GPU."""
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in self._gpu(handle).processes.items()]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:  # noqa: N802
        """Return why the clock is held back."""
        return self._gpu(handle).clock_reasons

    def _gpu(self, handle: int) -> FakeGpu:
        self._open()
        if self.gpus[handle].lost:
            raise NVMLError_GpuIsLost
        return self.gpus[handle]

    def _open(self) -> None:
        if self.opened <= 0:
            raise NVMLError_Uninitialized
