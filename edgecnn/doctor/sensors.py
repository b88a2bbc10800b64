"""Which power sensors `edgecnn bench --power` can read here, and what those need that are there and cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecnn.devices.sensors.catalog import EXTERNAL_FIX, find_meters
from edgecnn.devices.sensors.files import ReadText, read_sensor_file
from edgecnn.doctor.finding import Finding, Health


def sensors(root: Path = Path("/"), *, read: ReadText = read_sensor_file) -> Iterator[Finding]:
    """Yield what is to be said of each power sensor; one line where there is none.

    Args:
        root: folder that stands for "/".
        read: how a sensor's file is read.
    """
    found = find_meters(root, read=read)
    for meter in found.meters:
        covers = f"{meter.spec.coverage}: " if meter.spec.coverage else ""
        yield _finding(meter.spec.name, "ok", covers + meter.spec.note)
        meter.close()
    # The counters of one kind are all forbidden or none; one fix opens them.
    there = {(one.name.partition(":")[0], one.fix): one for one in reversed(found.missing) if not one.absent}
    for one in reversed(there.values()):
        yield _finding(one.name, "unavailable", one.reason, one.fix)
    if not found.meters and not there:
        yield _finding("power", "unavailable", "no power sensor that the kernel shows", EXTERNAL_FIX)


def _finding(name: str, health: Health, message: str, fix: str = "") -> Finding:
    return Finding(topic="sensor", name=name, health=health, message=message, fix=fix)
