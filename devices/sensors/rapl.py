"""RAPL: energy counters of Intel and AMD processors in /sys/class/powercap.

Source: Linux, Documentation/power/powercap/powercap.rst: `energy_uj` counts microjoules and starts again at
`max_energy_range_uj`. The counters move about once a millisecond (Intel SDM volume 3B, 16.10.3). On AMD the same driver reads
MSR_AMD_PKG_ENERGY_STATUS and, as "core", the MSR_AMD_CORE_ENERGY_STATUS of one core (Linux, drivers/powercap/intel_rapl_msr.c).
Since the kernel's answer to CVE-2020-8694 (INTEL-SA-00389) only root may read them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecnn.devices.sensors.base import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import ReadText, read_sensor_file, sensor_integer
from edgecnn.devices.sysfs import matching
from edgecnn.errors import SensorAbsent, SensorUnavailable
from edgecnn.powerspec import Coverage
from edgecnn.procfs import read_integer, read_text

FIX = "sudo chmod a+r /sys/class/powercap/*/energy_uj"

_PERIOD_S = 0.001
_POLL_S = 0.05
# Khan et al. 2018, "RAPL in Action", ACM TOMPECS 3(2): within a few percent of a meter, Haswell and later.
_ACCURACY = 0.05
# 2**-14 J is the default of MSR_RAPL_POWER_UNIT (Intel SDM volume 3B, 16.10.1); servers step finer.
_RESOLUTION_J = 61e-6

# name of a zone -> what it covers. "core" and "uncore" are parts of "package", "psys" is the sum of a whole platform.
_COVERAGE: dict[str, Coverage] = {
    "package": "chip",
    "dram": "module",
    "psys": "board",
    "core": "chip",
    "uncore": "chip",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One counter.

    Attributes:
        name: "package-0", "dram", "core", "uncore" or "psys"; of a part, the package's name stands before it.
        folder: that holds `energy_uj`.
        wrap_j: where it starts again from 0; None where the system does not tell.
    """

    name: str
    folder: Path
    wrap_j: float | None

    @property
    def kind(self) -> str:
        """Return the name without package and number: "package", "dram", "core", "uncore" or "psys"."""
        return self.name.rpartition("/")[2].partition("-")[0]


class RaplMeter(LiveMeter):
    """Counters that do not overlap, read together.

    Args:
        name: of the meter.
        zones: what is added up.
        read: how a file is read.
    """

    def __init__(self, name: str, zones: tuple[Zone, ...], *, read: ReadText = read_sensor_file) -> None:
        self._zones = zones
        self._read = read
        kinds = {zone.kind for zone in zones}
        super().__init__(
            MeterSpec(
                name=name,
                kind="counter",
                domain="+".join(zone.name for zone in zones),
                coverage=_coverage(kinds),
                note=_note(kinds),
                channels=tuple(Channel(name=zone.name, wrap_j=zone.wrap_j) for zone in zones),
                resolution=_RESOLUTION_J,
                update_period_s=_PERIOD_S,
                averaging_s=0.0,
                poll_s=_POLL_S,
                accuracy=_ACCURACY,
            )
        )

    def values(self) -> tuple[float, ...]:
        """Return joules of every zone; see `LiveMeter.values`."""
        return tuple(self._joules(zone) for zone in self._zones)

    def _joules(self, zone: Zone) -> float:
        try:
            return sensor_integer(zone.folder / "energy_uj", self.spec.name, read=self._read) / 1e6
        except SensorUnavailable as error:
            hint = FIX if "root" in error.message else error.hint
            raise SensorUnavailable(error.message, hint) from None


def rapl_zones(root: Path) -> tuple[Zone, ...]:
    """Return all counters, packages and their parts; none where there is no RAPL.

    Memory-mapped twins of the same counters ("intel-rapl-mmio") are left out: they would count twice.

    Args:
        root: folder that stands for "/".
    """
    folders = matching(root, "sys/class/powercap/*rapl*")
    counters = [folder for folder in folders if folder.name[-1:].isdigit() and "mmio" not in folder.name]
    return tuple(_zone(folder) for folder in counters if (folder / "name").exists())


def rapl_meters(root: Path, *, read: ReadText = read_sensor_file) -> tuple[RaplMeter, ...]:
    """Return "rapl" (all packages and their memory) and one meter per counter, "rapl:package-0" for example.

    Args:
        root: folder that stands for "/".
        read: how a file is read.

    Raises:
        SensorAbsent: there are no such counters.
    """
    zones = rapl_zones(root)
    if not zones:
        raise SensorAbsent(
            "rapl: no /sys/class/powercap/intel-rapl:0",
            "a virtual machine has none; on a PC: sudo modprobe intel_rapl_msr",
        )
    main = tuple(zone for zone in zones if zone.kind in ("package", "dram"))
    whole = (RaplMeter("rapl", main, read=read),) if main else ()
    return whole + tuple(RaplMeter(f"rapl:{zone.name}", (zone,), read=read) for zone in zones)


def _zone(folder: Path) -> Zone:
    own = _name(folder)
    # intel-rapl:0:1 is a part of intel-rapl:0; a "-" stands for the colon in recorded trees.
    parent = folder.parent / folder.name[: max(folder.name.rfind(":"), folder.name.rfind("-"))]
    name = f"{_name(parent)}/{own}" if (parent / "name").exists() else own
    wrap_uj = read_integer(folder / "max_energy_range_uj")
    return Zone(name=name, folder=folder, wrap_j=wrap_uj / 1e6 if wrap_uj else None)


def _name(folder: Path) -> str:
    return (read_text(folder / "name") or folder.name).strip()


def _coverage(kinds: Iterable[str]) -> Coverage | None:
    order: tuple[Coverage, ...] = ("chip", "module", "board")
    found = [_COVERAGE[kind] for kind in kinds if kind in _COVERAGE]
    return max(found, key=order.index) if found else None


def _note(kinds: set[str]) -> str:
    if "psys" in kinds:
        return "the platform as its maker wired it, often without display, disks and fans"
    if kinds == {"package", "dram"}:
        return "processor packages and their memory; without mainboard, disks, GPU card and power supply"
    if "dram" in kinds:
        return "memory alone"
    if "package" in kinds:
        return "processor packages with caches and built-in graphics; without memory and the rest of the machine"
    if kinds == {"core"}:
        return "the cores of the package; on AMD one core alone, for each has a counter of its own and one is read"
    return "a part of the processor package"
