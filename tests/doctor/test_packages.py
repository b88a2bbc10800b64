"""What the doctor says of installed packages."""

import pytest

from edgecnn.doctor.packages import TELEMETRY_OFF, conflicts, interpreter, packages, telemetry


def test_two_wheels_of_one_folder_are_a_conflict_with_its_fix() -> None:
    (found,) = conflicts({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1", "numpy": "2"})
    assert found.health == "broken"
    assert found.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && pip install")


@pytest.mark.parametrize("other", ["onnxruntime-qnn", "onnxruntime-ep-openvino", "onnxruntime-extensions"])
def test_plug_ins_of_the_engine_are_no_conflict(other: str) -> None:
    assert not list(conflicts({"onnxruntime": "1.31.1", other: "1.0"}))


def test_32_bit_is_said_plainly() -> None:
    found = interpreter((3, 11), 32, "armv7l")
    assert found.health == "broken"
    assert "32-bit" in found.message
    assert "64-bit" in found.fix


def test_an_old_python_is_said_plainly() -> None:
    assert interpreter((3, 9), 64, "aarch64").health == "broken"
    assert interpreter((3, 10), 64, "aarch64").health == "ok"


def test_versions_of_this_environment_are_listed() -> None:
    import numpy

    assert {one.name: one.message for one in packages()}["numpy"] == numpy.__version__


@pytest.mark.parametrize(
    ("name", "version", "environment", "notes"),
    [
        ("onnxruntime", "1.31.1", {}, 1),
        ("onnxruntime-gpu", "1.29.0", {TELEMETRY_OFF: "0"}, 1),
        ("onnxruntime", "1.31.1", {TELEMETRY_OFF: "1"}, 0),
        ("onnxruntime", "1.28.3", {}, 0),
        ("openvino", "2026.4.1", {}, 0),
    ],
)
def test_an_engine_that_reports_to_its_maker_is_told(
    name: str, version: str, environment: dict[str, str], notes: int
) -> None:
    found = list(telemetry({name: version}, environment))
    assert len(found) == notes
    assert all(TELEMETRY_OFF in one.fix and one.health == "note" for one in found)
