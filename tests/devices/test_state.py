from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgecnn.devices import DeviceState, read_state

TREES = Path(__file__).parent / "trees"

EXPECTED = {
    "pc": DeviceState(
        temperature_c=54.0,
        frequency_khz=1_625_000,
        fastest_khz=4_100_000,
        load_average=0.31,
        cgroup_throttled_us=0,
        thermal_throttle_count=2 * 3 + 8 * 5,
    ),
    "rpi4": DeviceState(
        temperature_c=48.2, frequency_khz=1_800_000, fastest_khz=1_800_000, load_average=0.52, pi_throttled=0x50005
    ),
    "rpi5": DeviceState(
        temperature_c=57.85, frequency_khz=1_950_000, fastest_khz=2_400_000, load_average=0.0, pi_throttled=0
    ),
    "jetson_orin_nano": DeviceState(
        temperature_c=49.687, frequency_khz=1_395_200, fastest_khz=1_728_000, load_average=1.24
    ),
    "jetson_nano": DeviceState(
        temperature_c=31.0, frequency_khz=918_000, fastest_khz=918_000, load_average=0.08, cgroup_throttled_us=0
    ),
    "big_little": DeviceState(temperature_c=44.444, frequency_khz=1_000_000, fastest_khz=1_800_000, load_average=0.21),
    "container": DeviceState(load_average=2.03, cgroup_throttled_us=1_634_207),
}


@pytest.mark.parametrize("tree", EXPECTED)
def test_recorded_machine(tree: str) -> None:
    assert read_state(TREES / tree) == EXPECTED[tree]


def test_empty_root_is_all_unknown(tmp_path: Path) -> None:
    assert read_state(tmp_path) == DeviceState()


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def _zones(root: Path, *zones: tuple[str, str]) -> Path:
    for number, (kind, reading) in enumerate(zones):
        folder = f"sys/class/thermal/thermal_zone{number}"
        _write(root, {f"{folder}/type": kind + "\n", f"{folder}/temp": reading + "\n"})
    return root


@pytest.mark.parametrize(
    ("zones", "celsius"),
    [
        ([("bigcore0-thermal", "51000"), ("littlecore-thermal", "47000"), ("gpu-thermal", "70000")], 51.0),
        ([("cpu0-thermal", "-256000"), ("cpu1-thermal", "40500")], 40.5),
        ([("gpu-thermal", "70000"), ("soc-thermal", "45000")], 45.0),
        ([("cpu-thermal", "-256000"), ("soc-thermal", "45000")], 45.0),
        ([("gpu-thermal", "70000"), ("acpitz", "27800")], None),
        ([("cpu-thermal", "hot")], None),
    ],
)
def test_temperature_is_the_processors(tmp_path: Path, zones: list[tuple[str, str]], celsius: float | None) -> None:
    assert read_state(_zones(tmp_path, *zones)).temperature_c == celsius


def test_temperature_of_a_processor_without_thermal_zone(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "80000\n",
            "sys/class/hwmon/hwmon1/name": "k10temp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "62500\n",
            "sys/class/hwmon/hwmon1/temp3_input": "58750\n",
        },
    )
    assert read_state(tmp_path).temperature_c == 62.5


def test_offline_processors_do_not_count(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    _write(
        tmp_path,
        {
            f"{cpu}/online": "0,2\n",
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "1000000\n",
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "9000000\n",
            f"{cpu}/cpu2/cpufreq/scaling_cur_freq": "2000000\n",
        },
    )
    assert read_state(tmp_path).frequency_khz == 1_500_000


def test_throttling_of_parent_groups_counts(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/app\n",
            "sys/fs/cgroup/pod/app/cpu.stat": "usage_usec 5\nnr_throttled 1\nthrottled_usec 100\n",
            "sys/fs/cgroup/pod/cpu.stat": "usage_usec 5\nthrottled_usec 20\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 5\n",
        },
    )
    assert read_state(tmp_path).cgroup_throttled_us == 120


def test_throttling_of_version_1_is_in_nanoseconds(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/app\n",
            "sys/fs/cgroup/cpu,cpuacct/app/cpu.stat": "nr_periods 9\nnr_throttled 2\nthrottled_time 7654321\n",
        },
    )
    assert read_state(tmp_path).cgroup_throttled_us == 7654


def test_only_throttle_counters_are_summed(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu0/thermal_throttle"
    _write(
        tmp_path,
        {
            f"{folder}/core_throttle_count": "2\n",
            f"{folder}/package_throttle_count": "1\n",
            f"{folder}/core_throttle_total_time_ms": "900\n",
            "sys/devices/system/cpu/cpufreq/thermal_throttle/core_throttle_count": "50\n",
        },
    )
    assert read_state(tmp_path).thermal_throttle_count == 3


@pytest.mark.parametrize("node", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_pi_throttled_under_its_true_names(tmp_path: Path, node: str) -> None:
    _write(tmp_path, {f"sys/devices/platform/{node}/get_throttled": "80008\n"})
    assert read_state(tmp_path).pi_throttled == 0x80008


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")
def test_this_machine() -> None:
    state = read_state()
    assert state.load_average is not None
    assert state.load_average >= 0
    assert state.temperature_c is None or -40 <= state.temperature_c <= 150
