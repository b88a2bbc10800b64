"""What changes while measuring: temperature, frequency, load and the counters of throttling. Unknown is None.

Read once before and once after a measurement, never inside the timed region. Of a counter only the difference between
the two tells something about the measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.sysfs import CPUS, cpu_integers, matching
from edgecnn.procfs import read_integer, read_text
from edgecnn.runtimes.threads import cgroup_directories

CPU_ZONES = re.compile(r"cpu|x86_pkg_temp|core", re.IGNORECASE)
SOC_ZONES = re.compile(r"soc", re.IGNORECASE)
CPU_MONITORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""hwmon drivers of processors; AMD's has no thermal zone."""

PLAUSIBLE_MILLI_C = range(-40_000, 150_001)
"""What a processor can be at and live; a sensor that is powered down tells -256 degrees, for example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """The state of the machine at one moment.

    Attributes:
        temperature_c: the hottest sensor of the processor.
        frequency_khz: mean of the online cores, as the governor last set it.
        fastest_khz: the greatest of the same; idle cores may be slow without a fault.
        base_khz: what the fastest core holds with all cores at work, where its driver tells (intel_pstate); above it is turbo.
        load_average: processes that ran or waited, over the last minute.
        cgroup_throttled_us: how long the container's quota has held its processes back, over its life.
        thermal_throttle_count: sum of x86's throttling counters, those of the package once for every core.
        pi_throttled: bits of a Raspberry Pi: 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit
            now; 16 to 19 the same since the kernel last asked the firmware, which it does every two seconds.
    """

    temperature_c: float | None = None
    frequency_khz: int | None = None
    fastest_khz: int | None = None
    base_khz: int | None = None
    load_average: float | None = None
    cgroup_throttled_us: int | None = None
    thermal_throttle_count: int | None = None
    pi_throttled: int | None = None


def read_state(root: Path = Path("/")) -> DeviceState:
    """Return the state now.

    Args:
        root: folder that stands for "/".
    """
    frequencies = cpu_integers(root, "cpufreq/scaling_cur_freq")
    return DeviceState(
        temperature_c=_temperature_c(root),
        frequency_khz=round(sum(frequencies) / len(frequencies)) if frequencies else None,
        fastest_khz=max(frequencies, default=None),
        base_khz=max(cpu_integers(root, "cpufreq/base_frequency"), default=None),
        load_average=_load_average(root),
        cgroup_throttled_us=_cgroup_throttled_us(root),
        thermal_throttle_count=_total(matching(root, f"{CPUS}/cpu[0-9]*/thermal_throttle/*_count")),
        pi_throttled=_pi_throttled(root),
    )


def _temperature_c(root: Path) -> float | None:
    zones = [(folder, read_text(folder / "type") or "") for folder in matching(root, "sys/class/thermal/thermal_zone*")]
    for wanted in (CPU_ZONES, SOC_ZONES):
        files = [folder / "temp" for folder, kind in zones if wanted.search(kind)]
        if files and (hottest := _hottest_c(files)) is not None:
            return hottest
    monitors = matching(root, "sys/class/hwmon/hwmon*")
    chips = [folder for folder in monitors if (read_text(folder / "name") or "").strip() in CPU_MONITORS]
    return _hottest_c([file for folder in chips for file in matching(folder, "temp*_input")])


def _hottest_c(files: list[Path]) -> float | None:
    readings = [value for file in files if (value := read_integer(file)) is not None and value in PLAUSIBLE_MILLI_C]
    return max(readings) / 1000 if readings else None


def _load_average(root: Path) -> float | None:
    match = re.match(r"\d+\.\d+", read_text(root / "proc/loadavg") or "")
    return float(match[0]) if match else None


def _cgroup_throttled_us(root: Path) -> int | None:
    """Return the sum over this group and its parents: each counts what its own quota held back."""
    found = [
        int(value) if unit == "throttled_usec" else int(value) // 1000
        for folder in cgroup_directories(root, "cpu")
        for unit, value in re.findall(
            r"^(throttled_usec|throttled_time) (\d+)$", read_text(folder / "cpu.stat") or "", re.MULTILINE
        )
    ]
    return sum(found) if found else None


def _total(files: Iterable[Path]) -> int | None:
    counts = [count for file in files if (count := read_integer(file)) is not None]
    return sum(counts) if counts else None


def _pi_throttled(root: Path) -> int | None:
    """Read hexadecimal digits; the node is soc:firmware on a Raspberry Pi 4, soc@107c000000:firmware on a 5."""
    for file in matching(root, "sys/devices/platform/soc*/*firmware/get_throttled"):
        try:
            return int(read_text(file) or "", 16)
        except ValueError:
            continue
    return None
