from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.bench.power.energy import make_trace, total_joules
from edgecnn.devices.sensors import Reading
from edgecnn.devices.sensors.files import read_sensor_file
from edgecnn.devices.sensors.rapl import FIX, rapl_meters, rapl_zones
from edgecnn.errors import SensorUnavailable

TREES = Path(__file__).parent / "trees"
MACHINES = Path(__file__).parents[1] / "trees"
INTEL, AMD = TREES / "rapl", TREES / "rapl_amd"
SECOND = 1_000_000_000


def test_zones_have_their_names_and_wraps_and_no_twins() -> None:
    assert [(zone.name, zone.kind, zone.wrap_j) for zone in rapl_zones(INTEL)] == [
        ("package-0", "package", 262143.32885),
        ("package-0/core", "core", 262143.32885),
        ("package-0/dram", "dram", 65712.999613),
        ("package-1", "package", 262143.32885),
        ("package-1/dram", "dram", 65712.999613),
        ("psys", "psys", 262143.32885),
    ]


def test_all_packages_and_their_memory_are_the_first_meter_and_no_part_counts_twice() -> None:
    meters = {meter.spec.name: meter for meter in rapl_meters(INTEL)}
    whole = meters["rapl"]
    assert [channel.name for channel in whole.spec.channels] == [
        "package-0",
        "package-0/dram",
        "package-1",
        "package-1/dram",
    ]
    assert whole.values() == (262143.0, 65712.0, 1200.345678, 500.0)
    assert (whole.spec.kind, whole.spec.coverage) == ("counter", "module")
    assert (meters["rapl:psys"].spec.coverage, meters["rapl:package-1"].spec.coverage) == ("board", "chip")
    assert "one core alone" in meters["rapl:package-0/core"].spec.note
    assert len(meters) == 7


def test_amd_has_the_same_files() -> None:
    whole = rapl_meters(AMD)[0]
    assert [channel.name for channel in whole.spec.channels] == ["package-0"]
    assert whole.spec.coverage == "chip"
    assert whole.values() == (33445.566778,)


def test_each_counter_wraps_at_its_own_range() -> None:
    """Package 0 goes on by 2 J over its end, its memory by 3 J over its own; the others by 1 J and none."""
    whole = rapl_meters(INTEL)[0]
    first = whole.values()
    second = (first[0] + 2 - 262143.32885, first[1] + 3 - 65712.999613, first[2] + 1, first[3])
    assert min(second[:2]) > 0
    readings = [
        Reading(t_ns=0, width_ns=0, values=first),
        Reading(t_ns=SECOND // 10, width_ns=0, values=second),
    ]
    assert total_joules(make_trace(whole.spec, readings), 0, SECOND // 10) == pytest.approx(6.0)


def test_root_alone_may_read_it() -> None:
    def read(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_sensor_file(path)

    meter = rapl_meters(INTEL, read=read)[0]
    with pytest.raises(SensorUnavailable, match="only root may read") as caught:
        meter.available()
    assert caught.value.hint == FIX
    assert "sudo chmod a+r" in FIX


def test_a_virtual_machine_has_none() -> None:
    with pytest.raises(SensorUnavailable, match="no /sys/class/powercap") as caught:
        rapl_meters(MACHINES / "container")
    assert "modprobe" in caught.value.hint
