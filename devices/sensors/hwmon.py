"""Power sensors that the kernel shows in /sys/class/hwmon: INA219, INA226 and their like, GPU and platform drivers.

Source of names and units: Linux, Documentation/hwmon/sysfs-interface.rst: `power<n>_input` and `power<n>_average` in
microwatts, `in<n>_input` in millivolts, `curr<n>_input` in milliamperes, `power<n>_average_interval` and `update_interval` in
milliseconds. INA219 and INA226: Documentation/hwmon/ina2xx.rst (in0 is the shunt, in1 the bus).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import ReadText, read_sensor_file, sensor_integer
from edgecnn.devices.sysfs import matching
from edgecnn.errors import SensorUnavailable
from edgecnn.powerspec import Coverage
from edgecnn.procfs import read_integer, read_text

# driver -> what it measures; where a bare measuring chip sits, only its wiring tells.
_COVERAGE: dict[str, Coverage] = {"amdgpu": "module", "i915": "chip", "xe": "module", "power_meter": "board"}

GPU_DRIVERS = ("amdgpu", "i915", "nouveau", "xe")
"""Drivers whose power is that of a GPU: it says nothing of work on the processor."""

# No period told: INA219 and INA226 convert within 70 ms even at 128 averages of their default time, others are slower than
# that in the drivers of this table. A figure on the safe side.
_PERIOD_S = 0.1

# TI SBOS448 (INA219) 0.5% of gain and SBOS547 (INA226) 0.1%, with a shunt of 1% and its layout.
_ACCURACY = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files that give one power.

    Attributes:
        name: of the channel.
        power: file with microwatts, None where volts and amperes are multiplied.
        volts: file with millivolts.
        amperes: file with milliamperes.
        averaging_s: over how long the driver averages; None where it does not tell.
        average: whether the value is an average.
    """

    name: str
    power: Path | None = None
    volts: Path | None = None
    amperes: Path | None = None
    averaging_s: float | None = 0.0

    def watts(self, meter: str, read: ReadText) -> float:
        """Return the power now; see `LiveMeter.values`."""
        if self.power is not None:
            return sensor_integer(self.power, meter, read=read) / 1e6
        assert self.volts is not None
        assert self.amperes is not None
        return sensor_integer(self.volts, meter, read=read) * sensor_integer(self.amperes, meter, read=read) / 1e6


class HwmonMeter(LiveMeter):
    """One source of one chip.

    Args:
        name: of the meter.
        chip: name of the driver.
        folder: of the chip.
        source: what is read.
        read: how a file is read.
    """

    def __init__(
        self, name: str, *, chip: str, folder: Path, source: Source, read: ReadText = read_sensor_file
    ) -> None:
        self._source = source
        self._read = read
        coverage = _COVERAGE.get(chip)
        interval_ms = read_integer(folder / "update_interval")
        super().__init__(
            MeterSpec(
                name=name,
                kind="sampler",
                domain=f"{chip} {source.name}",
                coverage=coverage,
                note="as its driver defines it" if coverage else "what flows through its shunt: only the wiring tells",
                channels=(Channel(name=source.name),),
                resolution=None,
                update_period_s=interval_ms / 1000 if interval_ms else _PERIOD_S,
                averaging_s=source.averaging_s,
                poll_s=max((interval_ms or 0) / 1000, _PERIOD_S / 2),
                accuracy=_ACCURACY if chip.startswith("ina2") else None,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts; see `LiveMeter.values`."""
        return (self._source.watts(self.spec.name, self._read),)


def hwmon_meters(root: Path, *, read: ReadText = read_sensor_file) -> tuple[HwmonMeter, ...]:
    """Return a meter per power that a chip gives, "hwmon:ina226" for example; a number tells twins apart.

    Args:
        root: folder that stands for "/".
        read: how a file is read.

    Raises:
        SensorUnavailable: there is none.
    """
    found = [
        (chip, folder, source)
        for folder in matching(root, "sys/class/hwmon/hwmon*")
        if (chip := (read_text(folder / "name") or "").strip())
        for source in _sources(chip, folder)
    ]
    if not found:
        raise SensorUnavailable(
            "hwmon: no chip in /sys/class/hwmon measures power",
            "wire an INA219 or INA226 to I2C and load ina2xx, or use an external meter (csv:FILE, http://PLUG)",
        )
    meters, counts = [], dict[str, int]()
    for chip, folder, source in found:
        number = counts[chip] = counts.get(chip, 0) + 1
        name = f"hwmon:{chip}" + (f"-{number}" if number > 1 else "")
        meters.append(HwmonMeter(name, chip=chip, folder=folder, source=source, read=read))
    return tuple(meters)


def _sources(chip: str, folder: Path) -> Iterator[Source]:
    powers = matching(folder, "power[0-9]*_input")
    for file in powers:
        yield Source(name=_label(folder, file), power=file)
    if powers:
        return
    averages = matching(folder, "power[0-9]*_average")
    for file in averages:
        interval_ms = read_integer(file.with_name(file.name + "_interval"))
        yield Source(name=_label(folder, file), power=file, averaging_s=interval_ms / 1000 if interval_ms else None)
    volts, amperes = folder / "in1_input", folder / "curr1_input"
    if not averages and chip.startswith("ina2") and volts.exists() and amperes.exists():
        yield Source(name="in1*curr1", volts=volts, amperes=amperes)


def _label(folder: Path, file: Path) -> str:
    stem = file.name.partition("_")[0]
    return (read_text(folder / f"{stem}_label") or stem).strip()
