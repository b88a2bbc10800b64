"""Whether the power sensors of this machine can be read by this user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgecnn.devices.sysfs import matching
from edgecnn.doctor.finding import Finding
from edgecnn.procfs import read_text

# Root alone may read it since the kernel's answer to CVE-2020-8694 (Intel INTEL-SA-00389).
_RAPL_FIX = "sudo chmod a+r /sys/class/powercap/*/energy_uj"


def sensors(root: Path = Path("/")) -> Iterator[Finding]:
    """Yield what is to be said of each power sensor; one line where there is none.

    Args:
        root: folder that stands for "/".
    """
    found = [*_rapl(root), *_monitors(root)]
    yield from found
    if not found:
        yield Finding(
            topic="sensor",
            name="power",
            health="unavailable",
            message="no power sensor that the kernel shows",
            fix="a meter between supply and device measures any board",
        )


def _rapl(root: Path) -> Iterator[Finding]:
    for zone in matching(root, "sys/class/powercap/*-rapl:*"):
        file = zone / "energy_uj"
        name = f"{zone.name} ({(read_text(zone / 'name') or 'unknown').strip()})"
        if os.access(file, os.R_OK):
            yield Finding(topic="sensor", name=name, health="ok", message="energy counter can be read")
        elif file.exists():
            message = "energy counter that only root may read"
            yield Finding(topic="sensor", name=name, health="unavailable", message=message, fix=_RAPL_FIX)


def _monitors(root: Path) -> Iterator[Finding]:
    """Yield the chips that measure power, or voltage and current: INA219, INA226, INA238, INA3221 and their like."""
    for chip in matching(root, "sys/class/hwmon/hwmon*"):
        name = (read_text(chip / "name") or "").strip()
        files = (*matching(chip, "power*_input"), *(matching(chip, "curr*_input") if name.startswith("ina") else ()))
        if files:
            readable = all(os.access(file, os.R_OK) for file in files)
            yield Finding(
                topic="sensor",
                name=f"{chip.name} ({name or 'unknown'})",
                health="ok" if readable else "unavailable",
                message=f"{len(files)} readings" + ("" if readable else " that this user may not read"),
                fix="" if readable else f"sudo chmod a+r /sys/class/hwmon/{chip.name}/*_input",
            )
