"""The battery's own gauge in /sys/class/power_supply: the whole device, while it runs from the battery.

Source of names and units: Linux, Documentation/ABI/testing/sysfs-class-power: `power_now` in microwatts, `current_now` in
microamperes (negative while discharging on some gauges), `voltage_now` in microvolts.
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import ReadText, read_sensor_file, sensor_integer
from edgecnn.devices.sysfs import matching
from edgecnn.errors import SensorAbsent, SensorUnavailable
from edgecnn.procfs import read_text

# Gauges are asked anew every 1 to 30 s; none of them tells which.
_PERIOD_S = 30.0
_POLL_S = 1.0


class BatteryMeter(LiveMeter):
    """One battery.

    Args:
        folder: of the battery.
        read: how a file is read.
    """

    def __init__(self, folder: Path, *, read: ReadText = read_sensor_file) -> None:
        self._folder = folder
        self._read = read
        super().__init__(
            MeterSpec(
                name=f"battery:{folder.name}",
                kind="sampler",
                domain=folder.name,
                coverage="board",
                note="the whole device from its battery, display and radio included",
                channels=(Channel(name=folder.name),),
                resolution=None,
                update_period_s=_PERIOD_S,
                averaging_s=None,
                poll_s=_POLL_S,
                accuracy=None,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return watts; see `LiveMeter.values`. A battery that is not discharging tells nothing of the device."""
        status = (read_text(self._folder / "status") or "unknown").strip()
        if status != "Discharging":
            raise SensorUnavailable(
                f"{self.spec.name}: expected a battery that is discharging, got {status!r}", "unplug the power supply"
            )
        if (self._folder / "power_now").exists():
            return (abs(self._number("power_now")) / 1e6,)
        return (abs(self._number("current_now")) * self._number("voltage_now") / 1e12,)

    def _number(self, file: str) -> int:
        return sensor_integer(self._folder / file, self.spec.name, read=self._read)


def battery_meters(root: Path, *, read: ReadText = read_sensor_file) -> tuple[BatteryMeter, ...]:
    """Return a meter per battery of the device; those of mice and keyboards are not among them.

    Args:
        root: folder that stands for "/".
        read: how a file is read.

    Raises:
        SensorAbsent: there is no battery.
    """
    folders = [
        folder
        for folder in matching(root, "sys/class/power_supply/*")
        if (read_text(folder / "type") or "").strip() == "Battery"
        and (read_text(folder / "scope") or "").strip() != "Device"
    ]
    if not folders:
        raise SensorAbsent("battery: none in /sys/class/power_supply", "only portable devices have one")
    return tuple(BatteryMeter(folder, read=read) for folder in folders)
