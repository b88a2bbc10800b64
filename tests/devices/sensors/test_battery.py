from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.sensors.battery import battery_meters
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import write_tree

B = "sys/class/power_supply"


def _battery(**files: str) -> dict[str, str]:
    return {f"{B}/BAT0/{name}": f"{text}\n" for name, text in {"type": "Battery", **files}.items()}


def test_power_of_a_gauge_that_tells_it(tmp_path: Path) -> None:
    (meter,) = battery_meters(write_tree(tmp_path, _battery(status="Discharging", power_now="7350000")))
    assert meter.values() == (7.35,)
    assert (meter.spec.name, meter.spec.coverage, meter.spec.kind) == ("battery:BAT0", "board", "sampler")
    assert meter.spec.shortest_window_s == 600


def test_current_times_voltage_whatever_the_sign(tmp_path: Path) -> None:
    files = _battery(status="Discharging", current_now="-1500000", voltage_now="11400000")
    (meter,) = battery_meters(write_tree(tmp_path, files))
    assert meter.values() == (pytest.approx(17.1),)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown"])
def test_on_the_mains_the_battery_tells_nothing(tmp_path: Path, status: str) -> None:
    (meter,) = battery_meters(write_tree(tmp_path, _battery(status=status, power_now="7350000")))
    with pytest.raises(SensorUnavailable, match=status) as caught:
        meter.available()
    assert caught.value.hint == "unplug the power supply"


def test_a_supply_that_is_plugged_in_while_measuring(tmp_path: Path) -> None:
    root = write_tree(tmp_path, _battery(status="Discharging", power_now="7350000"))
    (meter,) = battery_meters(root)
    meter.available()
    (root / B / "BAT0/status").write_text("Charging\n")
    with pytest.raises(SensorUnavailable, match="expected a battery that is discharging"):
        meter.values()


def test_a_mouse_is_no_battery_of_the_device(tmp_path: Path) -> None:
    files = {f"{B}/hid-1/type": "Battery\n", f"{B}/hid-1/scope": "Device\n", f"{B}/AC/type": "Mains\n"}
    with pytest.raises(SensorUnavailable, match="none in"):
        battery_meters(write_tree(tmp_path, files))
