from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn.devices.sensors.base import MeterSpec
from edgecnn.devices.sensors.jetson import BOARDS, jetson_meters, jetson_rails
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import FakeClock, write_tree

TREES = Path(__file__).parent / "trees"
MACHINES = Path(__file__).parents[1] / "trees"


def _total(spec: MeterSpec, values: tuple[float, ...]) -> float:
    return sum(value for value, channel in zip(values, spec.channels, strict=True) if channel.in_total)


@pytest.mark.parametrize(
    ("tree", "title", "domain", "rails", "total_w"),
    [
        ("jetson_nano", "Jetson Nano", "POM_5V_IN", 3, 2.592),
        ("jetson_tx2", "Jetson TX2", "VDD_IN", 6, 3.983),
        ("jetson_xavier_nx", "Jetson Xavier NX", "VDD_IN", 3, 4.952 * 0.8),
        ("jetson_orin_nx", "Jetson Orin NX or Nano", "VDD_IN", 3, 4.992 * 1.128),
        (
            "jetson_agx_orin",
            "Jetson AGX Orin",
            "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0",
            4,
            19.208 * 0.160 + 19.208 * 0.064 + 4.968 * 0.912,
        ),
    ],
)
def test_total_of_a_recorded_board(tree: str, title: str, domain: str, rails: int, total_w: float) -> None:
    (meter,) = jetson_meters(TREES / tree)
    spec, reading = meter.spec, meter.read(FakeClock().now_ns)
    assert (spec.name, spec.kind, spec.coverage, spec.domain) == ("jetson", "sampler", "module", domain)
    assert title in spec.note
    assert len(reading.values) == len(spec.channels) == rails
    assert _total(spec, reading.values) == pytest.approx(total_w, abs=1e-9)


def test_a_rail_that_another_feeds_is_reported_and_not_added() -> None:
    (meter,) = jetson_meters(TREES / "jetson_agx_orin")
    named = dict(zip((channel.name for channel in meter.spec.channels), meter.values(), strict=True))
    assert named["VDDQ_VDD2_1V8AO"] == pytest.approx(4.968 * 0.080)
    assert [channel.name for channel in meter.spec.channels if not channel.in_total] == ["VDDQ_VDD2_1V8AO"]
    assert "sum of its rails" in meter.spec.note


def test_sums_and_unconnected_channels_are_no_rails() -> None:
    names = [rail.name for rail in jetson_rails(TREES / "jetson_agx_orin")]
    assert names == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]


def test_one_step_of_the_current_in_watts() -> None:
    """40 uV over 5 mOhm are 8 mA, at 4.992 V; over 2 mOhm 20 mA, on three rails."""
    (orin,) = jetson_meters(TREES / "jetson_orin_nx")
    assert orin.spec.resolution == pytest.approx(0.008 * 4.992)
    (agx,) = jetson_meters(TREES / "jetson_agx_orin")
    assert agx.spec.resolution == pytest.approx(0.020 * (19.208 + 19.208 + 4.968))


def test_thor_is_measured_at_its_input(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            "proc/device-tree/compatible": "nvidia,p3834-0008\0nvidia,tegra264\0",
            "sys/bus/i2c/drivers/ina238/2-0044/hwmon/hwmon5/power1_input": "31250000\n",
            "sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon6/in1_label": "VDD_GPU\n",
            "sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon6/in1_input": "12000\n",
            "sys/bus/i2c/drivers/ina3221/2-0040/hwmon/hwmon6/curr1_input": "500\n",
        },
    )
    (meter,) = jetson_meters(root)
    assert meter.spec.domain == "VIN"
    assert dict(zip((c.name for c in meter.spec.channels), meter.values(), strict=True)) == {
        "VDD_GPU": 6.0,
        "VIN": 31.25,
    }
    assert _total(meter.spec, meter.values()) == 31.25


def test_every_total_is_of_rails_that_are_not_parts() -> None:
    for board in BOARDS:
        assert board.total
        assert set(board.total).isdisjoint(board.parts)


def test_other_machines_and_rails_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable, match="names no Jetson"):
        jetson_meters(MACHINES / "rpi5")
    with pytest.raises(SensorUnavailable, match="no rails") as caught:
        jetson_meters(MACHINES / "jetson_orin_nano")
    assert "modprobe ina3221" in caught.value.hint
    base = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/"
    files = {"in1_label": "VDD_ODD\n", "in1_input": "5000\n", "curr1_input": "100\n"}
    tree = {"proc/device-tree/compatible": "nvidia,tegra234\0"} | {base + name: text for name, text in files.items()}
    with pytest.raises(SensorUnavailable, match="no known module has the rails VDD_ODD"):
        jetson_meters(write_tree(tmp_path, tree))


def test_a_rail_that_vanishes_is_said_by_name(tmp_path: Path) -> None:
    base = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1/"
    files = {"in1_label": "VDD_IN\n", "in1_input": "5000\n", "curr1_input": "100\n"}
    tree = {"proc/device-tree/compatible": "nvidia,tegra234\0"} | {base + name: text for name, text in files.items()}
    root = write_tree(tmp_path, tree)
    (meter,) = jetson_meters(root)
    assert meter.values() == (0.5,)
    (root / base / "curr1_input").unlink()
    with pytest.raises(SensorUnavailable, match="curr1_input is gone"):
        meter.available()
