from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecnn.devices.sensors import find_meters, meter_from
from edgecnn.devices.sensors.catalog import EXTERNAL_FIX, FAMILIES, check_meter, csv_meter
from edgecnn.devices.sensors.files import read_sensor_file
from edgecnn.errors import BadInput, SensorUnavailable, UnknownName, UsageError
from edgecnn.testing.fakenvml import FakeGpu, FakeNvml
from edgecnn.testing.fakes import FakeClock, write_tree

TREES = Path(__file__).parent / "trees"
INTEL = TREES / "rapl"


def _forbidden(path: Path) -> str:
    if path.name == "energy_uj":
        raise PermissionError(13, "Permission denied", str(path))
    return read_sensor_file(path)


def _pmic(command: Sequence[str]) -> str:
    return (TREES / "pi5/pmic_healthy.txt").read_text()


def _nvml(*gpus: FakeGpu) -> FakeNvml:
    return FakeNvml(gpus, FakeClock().now_ns)


def test_what_can_be_read_and_why_the_rest_cannot() -> None:
    found = find_meters(INTEL, nvml=_nvml(FakeGpu()))
    assert [meter.spec.name for meter in found.meters] == [
        "rapl",
        "rapl:package-0",
        "rapl:package-0/core",
        "rapl:package-0/dram",
        "rapl:package-1",
        "rapl:package-1/dram",
        "rapl:psys",
        "nvml:00000000:01:00.0",
    ]
    assert [missing.name for missing in found.missing] == ["jetson", "rpi5", "hwmon", "battery"]
    assert all(missing.absent for missing in found.missing)
    assert all(missing.reason and missing.fix for missing in found.missing)


def test_a_sensor_that_is_there_and_forbidden_is_named_with_its_fix() -> None:
    found = find_meters(INTEL, read=_forbidden)
    assert not found.meters
    (rapl,) = [missing for missing in found.missing if missing.name == "rapl"]
    assert not rapl.absent
    assert "only root may read" in rapl.reason
    assert "chmod" in rapl.fix


def test_nothing_at_all(tmp_path: Path) -> None:
    found = find_meters(tmp_path)
    assert not found.meters
    assert tuple(missing.name for missing in found.missing) == FAMILIES


@pytest.mark.parametrize(
    ("tree", "name"),
    [
        ("jetson_orin_nx", "jetson"),
        ("rapl", "rapl"),
        ("rapl_amd", "rapl"),
        ("pi5", "rpi5"),
    ],
)
def test_auto_takes_what_the_machine_has(tree: str, name: str) -> None:
    assert meter_from("auto", TREES / tree, run=_pmic).spec.name == name


def test_auto_never_takes_the_gpu_for_the_processor_nor_the_other_way_round() -> None:
    nvml = _nvml(FakeGpu())
    assert meter_from("auto", INTEL, nvml=nvml).spec.name == "rapl"
    assert meter_from("auto", INTEL, uses_gpu=True, nvml=nvml).spec.name == "nvml:00000000:01:00.0"
    with pytest.raises(SensorUnavailable, match="no power sensor"):
        meter_from("auto", INTEL, uses_gpu=True, nvml=FakeNvml([], FakeClock().now_ns))
    orin = TREES / "jetson_orin_nx"
    assert meter_from("auto", orin, uses_gpu=True).spec.name == "jetson"


def test_auto_takes_no_gpu_s_chip_for_work_on_the_processor(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon{}/{}"
    gpu = {chip.format(0, "name"): "amdgpu\n", chip.format(0, "power1_average"): "9000000\n"}
    with pytest.raises(SensorUnavailable, match=r"hwmon: parts of the machine alone: hwmon:amdgpu \(amdgpu power1\)"):
        meter_from("auto", write_tree(tmp_path, gpu))
    assert meter_from("hwmon", tmp_path).spec.name == "hwmon:amdgpu"
    ina = {chip.format(1, "name"): "ina219\n", chip.format(1, "power1_input"): "8000000\n"}
    assert meter_from("auto", write_tree(tmp_path, ina)).spec.name == "hwmon:ina219"


def test_auto_takes_no_regulator_for_the_machine(tmp_path: Path) -> None:
    chip = {"sys/class/hwmon/hwmon0/name": "ir38064\n", "sys/class/hwmon/hwmon0/power1_input": "7000000\n"}
    with pytest.raises(SensorUnavailable, match="parts of the machine alone") as caught:
        meter_from("auto", write_tree(tmp_path, chip))
    assert "name one" in caught.value.hint
    assert meter_from("hwmon:ir38064", tmp_path).values() == (7.0,)


@pytest.mark.parametrize("text", ["auto", "rapl", "rapl:psys", "nvml:1", "csv:{log}?period_s=0.1", "http://127.0.0.1"])
def test_texts_that_may_mean_a_meter(tmp_path: Path, text: str) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time,power (W)\n")
    check_meter(text.format(log=log))


def test_a_log_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"csv meter: expected a file that exists, got .*nofile\.csv"):
        check_meter(f"csv:{tmp_path}/nofile.csv")


@pytest.mark.parametrize(
    "text", ["", "rappl", "csv:", "csv:log.csv?per=1", "https://127.0.0.1", "http://u:p@127.0.0.1"]
)
def test_texts_that_mean_no_meter_are_refused_before_anything_is_measured(text: str) -> None:
    with pytest.raises(UsageError):
        check_meter(text)


def test_without_a_sensor_auto_gives_every_reason_and_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable) as caught:
        meter_from("auto", tmp_path)
    assert caught.value.hint == EXTERNAL_FIX
    assert all(f"{name}: " in caught.value.message for name in FAMILIES if name != "nvml")


def test_a_fix_that_helps_goes_before_another_meter() -> None:
    with pytest.raises(SensorUnavailable) as caught:
        meter_from("auto", INTEL, read=_forbidden)
    assert caught.value.hint == "sudo chmod a+r /sys/class/powercap/*/energy_uj"


def test_meters_by_name(tmp_path: Path) -> None:
    assert meter_from("rapl:psys", INTEL).spec.coverage == "board"
    assert meter_from("rapl", INTEL).spec.name == "rapl"
    root = write_tree(
        tmp_path, {"sys/class/hwmon/hwmon0/name": "ina226\n", "sys/class/hwmon/hwmon0/power1_input": "9\n"}
    )
    assert meter_from("hwmon", root).spec.name == "hwmon:ina226"
    with pytest.raises(UnknownName, match=r"unknown power meter 'rapl:package-7'"):
        meter_from("rapl:package-7", INTEL)
    with pytest.raises(UnknownName, match=r"unknown power meter 'rappl'.*did you mean rapl"):
        meter_from("rappl", INTEL)
    with pytest.raises(SensorUnavailable, match="battery: none"):
        meter_from("battery", INTEL)


def test_of_several_gpus_it_is_the_one_that_works_or_one_must_be_named() -> None:
    nvml = _nvml(FakeGpu(), FakeGpu())
    for text in ("nvml", "auto"):
        with pytest.raises(SensorUnavailable, match="2 GPUs and no word which"):
            meter_from(text, INTEL, uses_gpu=True, nvml=nvml)
    # CUDA writes the address with a shorter domain.
    for text in ("nvml", "auto"):
        found = meter_from(text, INTEL, uses_gpu=True, gpu="0000:02:00.0", nvml=nvml)
        assert found.spec.name == "nvml:00000000:02:00.0"
    with pytest.raises(SensorUnavailable, match="2 GPUs and no word which"):
        meter_from("auto", INTEL, uses_gpu=True, gpu="0000:07:00.0", nvml=nvml)
    assert meter_from("nvml:1", INTEL, nvml=nvml).spec.name == "nvml:00000000:02:00.0"
    assert meter_from("nvml:00000000:01:00.0", INTEL, nvml=nvml).spec.domain == "Fake GPU 0"


def test_a_csv_file_with_options(tmp_path: Path) -> None:
    meter = meter_from(f"csv:{tmp_path}/a b.csv?power=P%20(W)&coverage=wall&period_s=0.1&offset_s=-2.5")
    spec = meter.spec
    assert (spec.name, spec.coverage, spec.update_period_s, spec.domain) == ("csv:a b.csv", "wall", 0.1, "P (W)")


@pytest.mark.parametrize(
    "text", ["", "?power=P", "a.csv?volts=U", "a.csv?coverage=house", "a.csv?period_s=0", "a.csv?offset_s=inf"]
)
def test_options_of_a_csv_file_that_are_wrong(text: str) -> None:
    with pytest.raises(BadInput):
        csv_meter(text)


def test_a_plug_is_an_address() -> None:
    with pytest.raises(BadInput, match="http://HOST"):
        meter_from("https://127.0.0.1")


def test_a_recorded_tree_asks_neither_commands_nor_drivers_of_this_machine() -> None:
    missing = {missing.name: missing.reason for missing in find_meters(TREES / "pi5").missing}
    assert "recorded tree" in missing["rpi5"]
    assert "recorded tree" in missing["nvml"]
