"""NVIDIA GPUs through NVML: the energy counter where the GPU has one, else its power.

Source: NVIDIA, NVML API reference: `nvmlDeviceGetTotalEnergyConsumption` in millijoules since the driver was loaded (Volta
and later), field 186 (`POWER_INSTANT`) and `nvmlDeviceGetPowerUsage` in milliwatts, the latter the mean of a second on Ampere
and later but GA100. The counter moves every 20 to 100 ms. On A100 and H100 the sensor looks at about a quarter of the time
(Yang, Adamek and Armour 2023, "Part-time Power Measurements", arXiv 2312.02741): short bursts may be missed.

A GPU is named by its PCI address: NVML counts all GPUs in the order of their addresses, CUDA only those that it may see.
"""

from __future__ import annotations

from typing import Any

from edgecnn.devices.nvml import load_nvml
from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.errors import SensorAbsent, SensorUnavailable, first_line

_COUNTER_PERIOD_S = 0.1
_POWER_PERIOD_S = 0.1
_POWER_USAGE_AVERAGING_S = 1.0
_POLL_S = 0.05
# arXiv 2312.02741: up to 5% of gain.
_ACCURACY = 0.05
_POWER_INSTANT = 186

_NO_DRIVER = "LibraryNotFound"

_FIXES = {
    _NO_DRIVER: "install the NVIDIA driver; in a container: --gpus all",
    "DriverNotLoaded": "sudo modprobe nvidia",
    "NoPermission": "ask the administrator for access to /dev/nvidiactl",
    "LibRmVersionMismatch": "reboot: the driver's kernel part is older than its library",
    "GpuIsLost": "reboot, and see dmesg: the GPU fell off the bus",
}
"""End of the name of NVML's error class -> what to do."""


class NvmlMeter(LiveMeter):
    """One GPU.

    Args:
        library: what gives NVML's functions, opened.
        handle: of the GPU.
        bus_id: its PCI address.
    """

    def __init__(self, library: Any, handle: Any, bus_id: str) -> None:
        # NVML counts: every meter holds it open until its own `close`.
        library.nvmlInit()
        self._library = library
        self._handle = handle
        self._bus_id = bus_id
        self._reader, kind, averaging_s = self._choose()
        super().__init__(
            MeterSpec(
                name=f"nvml:{bus_id}",
                kind="counter" if kind == "energy" else "sampler",
                domain=_text(library.nvmlDeviceGetName(handle)),
                coverage="module",
                note="the GPU card with its memory; without the processor and the rest of the machine",
                channels=(Channel(name=kind),),
                resolution=1e-3,
                update_period_s=_COUNTER_PERIOD_S if kind == "energy" else _POWER_PERIOD_S,
                averaging_s=averaging_s,
                poll_s=_POLL_S,
                accuracy=_ACCURACY,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return joules or watts; see `LiveMeter.values`."""
        try:
            return (self._reader() / 1e3,)
        except Exception as error:
            raise _unavailable(error, f"nvml:{self._bus_id}") from None

    def close(self) -> None:
        """Give NVML back."""
        self._library.nvmlShutdown()

    def _choose(self) -> tuple[Any, str, float]:
        """Return the first way to read that this GPU supports, its channel's name and its averaging window in seconds."""
        failures = []
        for reader, channel, averaging_s in (
            (self._energy_mj, "energy", 0.0),
            (self._instant_mw, "power", 0.0),
            (self._usage_mw, "power", _POWER_USAGE_AVERAGING_S),
        ):
            try:
                reader()
            except Exception as error:
                failures.append(error)
            else:
                return reader, channel, averaging_s
        raise _unavailable(failures[0], f"nvml:{self._bus_id}: neither energy nor power") from None

    def _energy_mj(self) -> int:
        return int(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def _instant_mw(self) -> int:
        field = self._library.nvmlDeviceGetFieldValues(self._handle, [(_POWER_INSTANT, 0)])[0]
        if field.nvmlReturn:
            raise self._library.NVMLError(field.nvmlReturn)
        return int(field.value.uiVal)

    def _usage_mw(self) -> int:
        return int(self._library.nvmlDeviceGetPowerUsage(self._handle))


def nvml_meters(library: Any = None) -> tuple[NvmlMeter, ...]:
    """Return a meter per GPU, "nvml:00000000:01:00.0" for example, in NVML's order.

    Args:
        library: gives NVML's functions; None loads the driver's.

    Raises:
        SensorAbsent: no driver, or one without a GPU.
        SensorUnavailable: no GPU that tells its power.
    """
    try:
        module = load_nvml() if library is None else library
        module.nvmlInit()
    except Exception as error:
        raise _unavailable(error, "nvml") from None
    try:
        return _meters(module)
    finally:
        module.nvmlShutdown()


def _meters(library: Any) -> tuple[NvmlMeter, ...]:
    """Return the meters of the GPUs that tell their power; where none does, the first one's reason is raised."""
    meters, failures = [], []
    for number in range(library.nvmlDeviceGetCount()):
        try:
            handle = library.nvmlDeviceGetHandleByIndex(number)
            meters.append(NvmlMeter(library, handle, _text(library.nvmlDeviceGetPciInfo(handle).busId)))
        except SensorUnavailable as error:
            failures.append(error)
        except Exception as error:
            failures.append(_unavailable(error, f"nvml: GPU {number}"))
    if not meters:
        none = SensorAbsent("nvml: the driver has no GPU", "is it bound to another driver? lspci -k says")
        raise failures[0] if failures else none
    return tuple(meters)


def _unavailable(error: BaseException, what: str) -> SensorUnavailable:
    name = type(error).__name__
    fix = next((fix for end, fix in _FIXES.items() if name.endswith(end)), "does nvidia-smi show its power?")
    kind = SensorAbsent if name.endswith(_NO_DRIVER) else SensorUnavailable
    return kind(f"{what}: {first_line(error)}", fix)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
