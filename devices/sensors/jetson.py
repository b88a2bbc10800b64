"""The rails of NVIDIA Jetson modules, measured by INA3221 and INA238 on the module.

Rails are found by their labels, never by the number of an hwmon folder. Where files lie: JetPack 5 and later
`/sys/bus/i2c/drivers/ina3221/<device>/hwmon/hwmon<n>/` (Linux, Documentation/hwmon/ina3221.rst: in<n> in mV, curr<n> in mA;
channels from 4 on are sums), JetPack 4 `/sys/bus/i2c/drivers/ina3221x/<device>/iio:device<n>/` (in_power<n>_input in mW).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.board import tree_strings
from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import ReadText, read_sensor_file, sensor_integer
from edgecnn.devices.sysfs import matching
from edgecnn.errors import SensorAbsent, SensorUnavailable
from edgecnn.procfs import read_integer, read_text

_I2C = "sys/bus/i2c/drivers"

# The INA3221 steps by 8 mV and by 40 uV over its shunt (TI SBOS576, 7.5); 5 mOhm is the shunt of all boards but a few.
_SHUNT_STEP_V = 40e-6
_SHUNT_OHM = 0.005

# Drivers leave averages and conversion times at values between 7 and 100 ms; the slowest of them.
_PERIOD_S = 0.1
_POLL_S = 0.05
# TI SBOS576: 0.25% of gain, 80 uV of offset, which is some percent of what a light load drops over 5 mOhm.
_ACCURACY = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class JetsonBoard:
    """Which rails a module has and which of them are all of it.

    Attributes:
        title: name of the module.
        soc: entry of the device tree's "compatible" list.
        total: rails whose sum is the module; one input rail where the module has one.
        parts: rails that those feed: they are reported and never added.
    """

    title: str
    soc: str
    total: tuple[str, ...]
    parts: tuple[str, ...] = ()


BOARDS = (
    JetsonBoard(title="Jetson Nano", soc="nvidia,tegra210", total=("POM_5V_IN",), parts=("POM_5V_GPU", "POM_5V_CPU")),
    JetsonBoard(title="Jetson TX1", soc="nvidia,tegra210", total=("VDD_IN",), parts=("VDD_CPU", "VDD_GPU")),
    JetsonBoard(
        title="Jetson TX2",
        soc="nvidia,tegra186",
        total=("VDD_IN",),
        parts=("VDD_SYS_CPU", "VDD_SYS_DDR", "VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"),
    ),
    JetsonBoard(
        title="Jetson Xavier NX", soc="nvidia,tegra194", total=("VDD_IN",), parts=("VDD_CPU_GPU_CV", "VDD_SOC")
    ),
    JetsonBoard(title="Jetson AGX Xavier", soc="nvidia,tegra194", total=("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V")),
    JetsonBoard(
        title="Jetson Orin NX or Nano", soc="nvidia,tegra234", total=("VDD_IN",), parts=("VDD_CPU_GPU_CV", "VDD_SOC")
    ),
    JetsonBoard(
        title="Jetson AGX Orin",
        soc="nvidia,tegra234",
        total=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        # Its channel shows about 5 V: VIN_SYS_5V0 feeds it, and the sum would count it twice.
        parts=("VDDQ_VDD2_1V8AO",),
    ),
    JetsonBoard(
        title="Jetson Thor",
        soc="nvidia,tegra264",
        total=("VIN",),
        parts=("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ),
)
"""Source of the rails: NVIDIA Jetson Linux Developer Guide (power monitors of each module); Linux, tegra234-p3701 and p3767."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One rail and the files that give its power.

    Attributes:
        name: its label.
        milliwatts: file with the power, None where volts and amperes are multiplied.
        microwatts: file with the power of an INA238.
        millivolts: file with the voltage.
        milliamperes: file with the current.
        shunt_ohm: that the current is measured over.
    """

    name: str
    milliwatts: Path | None = None
    microwatts: Path | None = None
    millivolts: Path | None = None
    milliamperes: Path | None = None
    shunt_ohm: float = _SHUNT_OHM

    def watts(self, meter: str, read: ReadText) -> float:
        """Return the power now; see `LiveMeter.values`."""
        if self.milliwatts is not None:
            return sensor_integer(self.milliwatts, meter, read=read) / 1e3
        if self.microwatts is not None:
            return sensor_integer(self.microwatts, meter, read=read) / 1e6
        assert self.millivolts is not None
        assert self.milliamperes is not None
        volts = sensor_integer(self.millivolts, meter, read=read) / 1e3
        return volts * sensor_integer(self.milliamperes, meter, read=read) / 1e3


class JetsonMeter(LiveMeter):
    """All rails of a module, read one after the other.

    Args:
        board: which of them are the total.
        rails: what was found.
        read: how a file is read.
    """

    def __init__(self, board: JetsonBoard, rails: tuple[Rail, ...], *, read: ReadText = read_sensor_file) -> None:
        self._rails = rails
        self._read = read
        summed = len(board.total) > 1
        super().__init__(
            MeterSpec(
                name="jetson",
                kind="sampler",
                domain="+".join(board.total),
                coverage="module",
                note=f"{board.title}, "
                + ("sum of its rails: no rail measures its input" if summed else "input of the module")
                + "; without the carrier board",
                channels=tuple(Channel(name=rail.name, in_total=rail.name in board.total) for rail in rails),
                resolution=_resolution_w(board, rails),
                update_period_s=_PERIOD_S,
                averaging_s=0.0,
                poll_s=_POLL_S,
                accuracy=_ACCURACY,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts of every rail; see `LiveMeter.values`."""
        return tuple(rail.watts(self.spec.name, self._read) for rail in self._rails)


def jetson_rails(root: Path) -> tuple[Rail, ...]:
    """Return all rails with a label; sums and channels that are not connected ("NC") are left out.

    Args:
        root: folder that stands for "/".
    """
    found = [*_hwmon_rails(root), *_iio_rails(root), *_ina238_rails(root)]
    return tuple({rail.name: rail for rail in reversed(found)}.values())[::-1]


def jetson_meters(root: Path, *, read: ReadText = read_sensor_file) -> tuple[JetsonMeter, ...]:
    """Return the meter of this module.

    Args:
        root: folder that stands for "/".
        read: how a file is read.

    Raises:
        SensorAbsent: not a Jetson.
        SensorUnavailable: one without rails, or whose rails are not those of a known module.
    """
    compatible = tree_strings(root, "compatible")
    if not any(board.soc in compatible for board in BOARDS):
        raise SensorAbsent("jetson: the device tree names no Jetson", "only NVIDIA Jetson modules have these rails")
    rails = jetson_rails(root)
    names = {rail.name for rail in rails}
    for board in BOARDS:
        if board.soc in compatible and names.issuperset(board.total):
            return (JetsonMeter(board, rails, read=read),)
    if not names:
        raise SensorUnavailable(
            f"jetson: no rails below /{_I2C}/ina3221",
            "in a container: --volume /sys:/sys:ro; else sudo modprobe ina3221",
        )
    raise SensorUnavailable(
        f"jetson: no known module has the rails {', '.join(sorted(names))}",
        "an external meter measures any board: csv:FILE or http://PLUG",
    )


def _hwmon_rails(root: Path) -> Iterator[Rail]:
    for folder in matching(root, f"{_I2C}/ina3221/*/hwmon/hwmon*"):
        for number in (1, 2, 3):
            name = _label(folder / f"in{number}_label")
            current = folder / f"curr{number}_input"
            if name and current.exists():
                shunt = read_integer(folder / f"shunt{number}_resistor")
                yield Rail(
                    name=name,
                    millivolts=folder / f"in{number}_input",
                    milliamperes=current,
                    shunt_ohm=shunt / 1e6 if shunt else _SHUNT_OHM,
                )


def _iio_rails(root: Path) -> Iterator[Rail]:
    for folder in matching(root, f"{_I2C}/ina3221x/*/iio*device*"):
        for number in (0, 1, 2):
            name = _label(folder / f"rail_name_{number}")
            if name:
                yield Rail(
                    name=name,
                    milliwatts=folder / f"in_power{number}_input",
                    millivolts=folder / f"in_voltage{number}_input",
                )


def _ina238_rails(root: Path) -> Iterator[Rail]:
    for folder in matching(root, f"{_I2C}/ina238/*/hwmon/hwmon*"):
        if (folder / "power1_input").exists():
            yield Rail(name=_label(folder / "in1_label") or "VIN", microwatts=folder / "power1_input")


def _label(file: Path) -> str:
    name = (read_text(file) or "").strip()
    return "" if name in ("NC", "sum of shunt voltages") else name


def _resolution_w(board: JetsonBoard, rails: tuple[Rail, ...]) -> float | None:
    """Return what one step of the current is in watts at the voltage of the moment, summed over the total's rails."""
    steps = [
        (read_integer(rail.millivolts) or 0) / 1e3 * _SHUNT_STEP_V / rail.shunt_ohm
        for rail in rails
        if rail.name in board.total and rail.millivolts
    ]
    return sum(steps) or None
