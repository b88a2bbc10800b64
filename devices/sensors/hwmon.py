"""Power sensors that the kernel shows in /sys/class/hwmon: INA219, INA226 and their like, GPU and platform drivers.

Source of names and units: Linux, Documentation/hwmon/sysfs-interface.rst: `power<n>_input` and `power<n>_average` in
microwatts, `in<n>_input` in millivolts, `curr<n>_input` in milliamperes, `power<n>_average_interval` and `update_interval` in
milliseconds. INA219 and INA226: Documentation/hwmon/ina2xx.rst (in0 is the shunt, in1 the bus). INA3221:
Documentation/hwmon/ina3221.rst (three channels, each a voltage and a current; channels from 4 on are sums).

Batteries and chargers have an entry here as well; their power is what charges the battery, and `battery` knows when that says
something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.board import tree_strings
from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import ReadText, read_sensor_file, sensor_integer
from edgecnn.devices.sysfs import matching
from edgecnn.errors import SensorAbsent
from edgecnn.powerspec import Coverage
from edgecnn.procfs import read_integer, read_text

# driver -> what it measures; where a bare measuring chip sits, only its wiring tells.
_COVERAGE: dict[str, Coverage] = {"amdgpu": "module", "i915": "chip", "xe": "module", "power_meter": "board"}

_ONE_CHANNEL = "ina2"
# INA219, INA226 and their like, which somebody wires in to measure with; an INA3221 has three channels.

# Entries of /sys/class/power_supply (Linux, Documentation/ABI/testing/sysfs-class-power, "type").
_SUPPLIES = ("Battery", "UPS", "Mains", "USB", "Wireless")

_INA3221 = "ina3221"
_INA3221_CHANNELS = (1, 2, 3)
_NOT_CONNECTED = ("NC", "sum of shunt voltages")

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
                accuracy=_ACCURACY if chip.startswith(_ONE_CHANNEL) else None,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts; see `LiveMeter.values`."""
        return (self._source.watts(self.spec.name, self._read),)


def hwmon_meters(root: Path, *, read: ReadText = read_sensor_file) -> tuple[HwmonMeter, ...]:
    """Return a meter per power that a chip gives, "hwmon:ina226" for example; a number tells twins apart.

    An INA3221 of a Jetson is left to the meter that knows its rails.

    Args:
        root: folder that stands for "/".
        read: how a file is read.

    Raises:
        SensorAbsent: there is none.
    """
    is_jetson = any(entry.startswith("nvidia,tegra") for entry in tree_strings(root, "compatible"))
    found = [
        (chip, folder, source)
        for folder in matching(root, "sys/class/hwmon/hwmon*")
        if (chip := (read_text(folder / "name") or "").strip())
        and not _is_supply(folder)
        and not (is_jetson and chip == _INA3221)
        for source in _sources(chip, folder)
    ]
    if not found:
        raise SensorAbsent(
            "hwmon: no chip in /sys/class/hwmon measures power",
            "wire an INA219 or INA226 to I2C and load ina2xx, or use an external meter (csv:FILE, http://PLUG)",
        )
    meters, counts = [], dict[str, int]()
    for chip, folder, source in found:
        number = counts[chip] = counts.get(chip, 0) + 1
        name = f"hwmon:{chip}" + (f"-{number}" if number > 1 else "")
        meters.append(HwmonMeter(name, chip=chip, folder=folder, source=source, read=read))
    return tuple(meters)


def measures_the_machine(meter: HwmonMeter) -> bool:
    """Tell whether a chip may stand for the machine unasked: one that was wired in to measure, or a driver of the whole board.

    Any other is a part that only its owner knows, a regulator or a GPU for example, and so is a channel of an INA3221.
    """
    chip = meter.spec.domain.partition(" ")[0]
    return chip.startswith(_ONE_CHANNEL) or meter.spec.coverage == "board"


def _is_supply(folder: Path) -> bool:
    return (read_text(folder / "device/type") or "").strip() in _SUPPLIES


def _sources(chip: str, folder: Path) -> Iterator[Source]:
    if chip == _INA3221:
        yield from _channels(folder)
        return
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
    if not averages and chip.startswith(_ONE_CHANNEL) and volts.exists() and amperes.exists():
        yield Source(name="in1*curr1", volts=volts, amperes=amperes)


def _channels(folder: Path) -> Iterator[Source]:
    """Yield the connected channels of an INA3221."""
    for number in _INA3221_CHANNELS:
        volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
        label = _label(folder, volts)
        if volts.exists() and amperes.exists() and label not in _NOT_CONNECTED:
            yield Source(name=label, volts=volts, amperes=amperes)


def _label(folder: Path, file: Path) -> str:
    stem = file.name.partition("_")[0]
    return (read_text(folder / f"{stem}_label") or stem).strip()
