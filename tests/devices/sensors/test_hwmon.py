from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.sensors.hwmon import hwmon_meters, measures_the_machine
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import write_tree

H = "sys/class/hwmon"


def _chip(number: int, name: str, **files: str) -> dict[str, str]:
    return {f"{H}/hwmon{number}/name": f"{name}\n"} | {f"{H}/hwmon{number}/{key}": text for key, text in files.items()}


def test_an_ina226_gives_microwatts(tmp_path: Path) -> None:
    root = write_tree(tmp_path, _chip(2, "ina226", power1_input="5250000\n", update_interval="36\n"))
    (meter,) = hwmon_meters(root)
    assert meter.values() == (5.25,)
    spec = meter.spec
    assert (spec.name, spec.kind, spec.update_period_s, spec.averaging_s) == ("hwmon:ina226", "sampler", 0.036, 0.0)
    assert spec.coverage is None
    assert "wiring" in spec.note
    assert spec.accuracy is not None


def test_an_ina219_without_power_is_bus_voltage_times_current(tmp_path: Path) -> None:
    files = {"in0_input": "12\n", "in1_input": "5080\n", "curr1_input": "610\n"}
    (meter,) = hwmon_meters(write_tree(tmp_path, _chip(0, "ina219", **files)))
    assert meter.values() == (pytest.approx(5.08 * 0.61),)


def test_a_gpu_driver_that_averages_says_over_how_long(tmp_path: Path) -> None:
    files = {"power1_average": "42000000\n", "power1_average_interval": "1000\n", "power1_label": "PPT\n"}
    (meter,) = hwmon_meters(write_tree(tmp_path, _chip(4, "amdgpu", **files)))
    assert meter.values() == (42.0,)
    assert (meter.spec.coverage, meter.spec.averaging_s, meter.spec.domain) == ("module", 1.0, "amdgpu PPT")
    assert meter.spec.shortest_window_s == 10.0


def test_an_average_of_unknown_length_says_so(tmp_path: Path) -> None:
    (meter,) = hwmon_meters(write_tree(tmp_path, _chip(0, "power_meter", power1_average="95000000\n")))
    assert meter.spec.averaging_s is None


def test_twins_are_told_apart(tmp_path: Path) -> None:
    files = {
        **_chip(0, "ina219", power1_input="1\n"),
        **_chip(1, "ina219", power1_input="2\n"),
        **_chip(3, "coretemp", temp1_input="40000\n"),
        **_chip(4, "pmbus", power1_input="7000000\n", power2_input="8000000\n", power2_label="out\n"),
    }
    meters = hwmon_meters(write_tree(tmp_path, files))
    assert [meter.spec.name for meter in meters] == ["hwmon:ina219", "hwmon:ina219-2", "hwmon:pmbus", "hwmon:pmbus-2"]
    assert [meter.values()[0] for meter in meters] == [1e-6, 2e-6, 7.0, 8.0]


def test_each_connected_channel_of_an_ina3221_is_a_meter(tmp_path: Path) -> None:
    files = {"in1_input": "5100\n", "curr1_input": "400\n", "in1_label": "5V\n", "in2_label": "NC\n"}
    more = {
        "in2_input": "0\n",
        "curr2_input": "0\n",
        "in3_input": "12000\n",
        "curr3_input": "250\n",
        "curr4_input": "650\n",
    }
    root = write_tree(tmp_path, _chip(2, "ina3221", **files, **more))
    meters = hwmon_meters(root)
    assert [(meter.spec.domain, meter.values()[0]) for meter in meters] == [
        ("ina3221 5V", pytest.approx(2.04)),
        ("ina3221 in3", pytest.approx(3.0)),
    ]
    assert not any(map(measures_the_machine, meters))
    write_tree(root, {"proc/device-tree/compatible": "nvidia,p3768\0nvidia,tegra234\0"})
    with pytest.raises(SensorUnavailable):
        hwmon_meters(root)


def test_what_charges_a_battery_is_no_power_of_the_machine(tmp_path: Path) -> None:
    battery = _chip(1, "BAT0", power1_input="31000000\n") | {f"{H}/hwmon1/device/type": "Battery\n"}
    with pytest.raises(SensorUnavailable, match="no chip"):
        hwmon_meters(write_tree(tmp_path, battery))


def test_none(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable, match="no chip") as caught:
        hwmon_meters(tmp_path)
    assert "INA226" in caught.value.hint


def test_a_chip_that_vanishes(tmp_path: Path) -> None:
    root = write_tree(tmp_path, _chip(0, "ina226", power1_input="5250000\n"))
    (meter,) = hwmon_meters(root)
    (root / H / "hwmon0/power1_input").unlink()
    with pytest.raises(SensorUnavailable, match=r"hwmon:ina226: .*is gone"):
        meter.available()
