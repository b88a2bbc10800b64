"""How long a measurement of power will take, told before it begins where nobody would expect it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecnn.bench.power.phases import make_power_plan
from edgecnn.devices.sensors.base import MeterSpec
from edgecnn.devices.sensors.catalog import AUTO, find_meters, meter_from
from edgecnn.devices.sensors.files import ReadText, read_sensor_file
from edgecnn.errors import EdgecnnError

NOTICED_SECONDS = 120.0
"""What takes longer than this is told; a plug at the wall stays below."""

WITHOUT = "none"
"""What `--power` takes for no power at all."""


def long_power_note(
    text: str,
    *,
    each: str = "model and batch",
    uses_gpu: bool = False,
    root: Path = Path("/"),
    read: ReadText = read_sensor_file,
) -> str:
    """Return how long power takes with the sensor that a text means, and why; empty where that is short or there is none.

    Args:
        text: as `edgecnn.devices.sensors.catalog.meter_from` takes it.
        each: what it takes so long for.
        uses_gpu: whether an NVIDIA GPU does the work.
        root: folder that stands for "/".
        read: how a sensor's file is read.
    """
    try:
        meter = meter_from(text, root, uses_gpu=uses_gpu, read=read)
    except EdgecnnError:
        return ""  # the measurement says why, and takes no time
    spec = meter.spec
    meter.close()
    seconds = make_power_plan(spec).total_s
    if seconds <= NOTICED_SECONDS:
        return ""
    faster = "; ".join(_faster(spec, root, read)) if text == AUTO else ""
    why = f"{spec.name} has a new value only every {spec.update_period_s:g} s"
    others = f"; sensors that cannot be read: {faster}" if faster else ""
    return (
        f"power: {why}, so idle, runs and idle again take {seconds / 60:.0f} minutes for each {each}{others}; "
        f"--power {WITHOUT} leaves it out"
    )


def _faster(spec: MeterSpec, root: Path, read: ReadText) -> Iterator[str]:
    """Yield the sensors that this machine has and that could not be read, each with its fix."""
    for one in find_meters(root, read=read).missing:
        if not one.absent and one.name != spec.name:
            yield f"{one.reason} ({one.fix})" if one.fix else one.reason
