"""What the doctor says of recorded machines."""

from pathlib import Path

import pytest

from edgecnn.devices.sensors.files import read_sensor_file
from edgecnn.doctor.finding import Finding
from edgecnn.doctor.gpu import gpu
from edgecnn.doctor.machine import machine
from edgecnn.doctor.sensors import sensors
from edgecnn.testing.fakes import write_tree

TREES = Path(__file__).parents[1] / "devices" / "trees"
SENSOR_TREES = TREES.parent / "sensors" / "trees"


def _by_name(findings: object) -> dict[str, Finding]:
    return {one.name: one for one in findings}


def test_a_raspberry_pi_with_a_weak_supply_is_told() -> None:
    found = [one for one in machine(TREES / "rpi4") if one.name == "throttling"]
    throttled = int((next((TREES / "rpi4").rglob("get_throttled"))).read_text(), 16)
    assert bool(found) == bool(throttled)


def test_throttling_bits_become_advice(tmp_path: Path) -> None:
    write_tree(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"})
    messages = [one.message for one in machine(tmp_path) if one.name == "throttling"]
    assert messages == [
        "the supply voltage was too low (get_throttled 0x50005)",
        "the processor was throttled (get_throttled 0x50005)",
    ]


def test_a_containers_quota_is_told() -> None:
    cores = _by_name(machine(TREES / "container"))["cores"]
    assert cores.health == "note"
    assert "quota" in cores.message


@pytest.mark.parametrize(("driver", "health"), [("acpi-cpufreq", "note"), ("intel_pstate", "ok")])
def test_a_slow_governor_comes_with_the_command_that_changes_it(tmp_path: Path, driver: str, health: str) -> None:
    cpu = "sys/devices/system/cpu"
    write_tree(
        tmp_path,
        {
            f"{cpu}/online": "0\n",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu0/cpufreq/scaling_driver": f"{driver}\n",
        },
    )
    governor = _by_name(machine(tmp_path))["governor"]
    assert governor.health == health
    assert ("tee" in governor.fix) == (health == "note")


def test_a_machine_without_a_word_is_no_crash(tmp_path: Path) -> None:
    assert {one.health for one in machine(tmp_path)} <= {"ok", "note"}
    assert [one.health for one in sensors(tmp_path)] == ["unavailable"]
    assert [one.health for one in gpu(tmp_path)] == ["unavailable"]


def _forbidden(path: Path) -> str:
    if path.name == "energy_uj":
        raise PermissionError(13, "Permission denied", str(path))
    return read_sensor_file(path)


def test_a_counter_for_root_alone_has_its_fix_once() -> None:
    readable = list(sensors(SENSOR_TREES / "rapl"))
    assert {one.health for one in readable} == {"ok"}
    assert readable[0].name == "rapl"
    assert readable[0].message.startswith("module: processor packages and their memory")
    (closed,) = sensors(SENSOR_TREES / "rapl", read=_forbidden)
    assert (closed.name, closed.health) == ("rapl", "unavailable")
    assert closed.fix == "sudo chmod a+r /sys/class/powercap/*/energy_uj"


def test_a_board_whose_sensor_cannot_be_asked_is_told(tmp_path: Path) -> None:
    """A Jetson without the driver of its rails is no machine without a sensor."""
    write_tree(tmp_path, {"proc/device-tree/compatible": "nvidia,p3768-0000\0nvidia,tegra234\0"})
    (found,) = sensors(tmp_path)
    assert (found.name, found.health) == ("jetson", "unavailable")
    assert "modprobe ina3221" in found.fix


def test_a_machine_without_a_sensor_hears_of_other_ways(tmp_path: Path) -> None:
    (found,) = sensors(tmp_path)
    assert (found.name, found.health) == ("power", "unavailable")
    assert "csv:FILE" in found.fix


def test_chips_that_measure_power_are_listed(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "ina3221\n",
            "sys/class/hwmon/hwmon0/in1_input": "5000\n",
            "sys/class/hwmon/hwmon0/curr1_input": "100\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "40000\n",
        },
    )
    assert [(one.name, one.health) for one in sensors(tmp_path)] == [("hwmon:ina3221", "ok")]


def test_a_gpu_in_a_container_without_its_files_is_broken(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu\n"},
    )
    found = _by_name(gpu(tmp_path))
    assert "550.54.14" in found["nvidia"].message
    assert found["permissions"].health == "broken"
    assert "--gpus all" in found["permissions"].fix


def test_a_jetson_tells_its_power_mode() -> None:
    found = _by_name(gpu(TREES / "jetson_orin_nano"))
    assert found["nvidia"].message.startswith("Orin")
    assert found["power mode"].health == "ok"
