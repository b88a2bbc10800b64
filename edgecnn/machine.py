"""This machine at a glance: what it is, what it knows of itself, which sensors it has, and what it can do at most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.bench.peaks.calibration import Calibration, find_calibration
from edgecnn.devices.caches import CacheLevel, data_caches
from edgecnn.devices.detect import detect
from edgecnn.devices.profile import device_profiles, profile_backends
from edgecnn.devices.sensors.catalog import find_meters
from edgecnn.results import Device
from edgecnn.runtimes import backend_states
from edgecnn.runtimes.threads import usable_big_cores, usable_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A power sensor, or why there is none of a kind.

    Attributes:
        name: what `--power` calls it, or the kind.
        readable: whether it was read just now.
        covers: what it measures; empty for one that cannot be read.
        reason: why it cannot be read; empty otherwise.
        fix: what to do about it.
    """

    name: str
    readable: bool
    covers: str = ""
    reason: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """This machine.

    Attributes:
        device: as records have it.
        profile_title: full name of the device profile, null where none matches.
        backends: what `--backend auto` chooses from here: those of the profile that can run.
        threads: of a session that is not told otherwise.
        big_cores: large cores that this process may use; empty where all are alike.
        caches: that hold data, nearest to the core first.
        sensors: of power.
        calibration: limits of backend cpu with these threads, null where they were not measured.
    """

    device: Device
    profile_title: str | None
    backends: tuple[str, ...]
    threads: int
    big_cores: tuple[int, ...]
    caches: tuple[CacheLevel, ...]
    sensors: tuple[Sensor, ...]
    calibration: Calibration | None


def describe_machine(root: Path = Path("/")) -> Machine:
    """Return what can be told of a machine without measuring.

    Args:
        root: folder that stands for "/".
    """
    device = detect(root)
    able = {one.name for one in backend_states() if one.state == "ok"}
    titles = {profile.id: profile.title for profile in device_profiles()}
    return Machine(
        device=device,
        profile_title=titles.get(device.profile or ""),
        backends=tuple(name for name in profile_backends(device.profile) if name in able),
        threads=usable_threads(root),
        big_cores=usable_big_cores(root),
        caches=data_caches(root),
        sensors=_sensors(root),
        calibration=find_calibration(root=root),
    )


def _sensors(root: Path) -> tuple[Sensor, ...]:
    """Return the sensors that this machine has; those of other kinds of machines are not its own that cannot be read."""
    found = find_meters(root)
    meters = [Sensor(name=one.spec.name, readable=True, covers=one.spec.domain) for one in found.meters]
    for meter in found.meters:
        meter.close()
    missing = [
        Sensor(name=one.name, readable=False, reason=one.reason, fix=one.fix) for one in found.missing if not one.absent
    ]
    return (*meters, *missing)
