from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgecnn.devices.sensors.rpi5 import COMMAND, modelled_input, parse_rails, rpi5_meters
from edgecnn.errors import SensorUnavailable
from edgecnn.powerspec import ModelledPower

TREES = Path(__file__).parent / "trees"
MACHINES = Path(__file__).parents[1] / "trees"
PI5 = TREES / "pi5"


def _dump(name: str) -> str:
    return (PI5 / f"pmic_{name}.txt").read_text()


class Runner:
    def __init__(self, *answers: str | Exception) -> None:
        self._answers = list(answers)
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        self.commands.append(command)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_power_is_the_sum_over_the_twelve_rails() -> None:
    rails = parse_rails(_dump("healthy"))
    assert len(rails) == 12
    assert rails["VDD_CORE"] == pytest.approx(5.03652 * 0.8936988)
    assert rails["3V7_WL_SW"] == pytest.approx(0.0585558 * 3.610692)
    assert sum(rails.values()) == pytest.approx(5.92161, abs=1e-5)


def test_voltages_alone_count_nothing() -> None:
    assert parse_rails(_dump("no_battery")) == parse_rails(_dump("healthy"))
    assert not {"EXT5V", "BATT"} & set(parse_rails(_dump("healthy")))


def test_a_meter_reads_all_rails() -> None:
    run = Runner(_dump("healthy"))
    (meter,) = rpi5_meters(PI5, run=run)
    assert sum(meter.values()) == pytest.approx(5.92161, abs=1e-5)
    assert run.commands == [COMMAND, COMMAND]
    assert (meter.spec.kind, meter.spec.coverage) == ("sampler", "module")
    assert "without USB" in meter.spec.note


def test_a_rail_that_is_missing_later_is_no_lower_power() -> None:
    (meter,) = rpi5_meters(PI5, run=Runner(_dump("healthy"), _dump("missing_rail")))
    with pytest.raises(SensorUnavailable, match="others than at first: DDR_VDD2"):
        meter.values()


def test_a_board_that_never_had_the_rail_is_measured() -> None:
    (meter,) = rpi5_meters(PI5, run=Runner(_dump("missing_rail")))
    assert len(meter.values()) == 11


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        ("half_rail", "current without voltage: VDD_CORE", "again"),
        ("", "got 'nothing'", "firmware"),
        ('error=1 error_msg="Command not registered"\n', "Command not registered", "firmware"),
        ("Can't open device file: /dev/vcio\nTry creating a device file\n", "Can't open device", "usermod -aG video"),
        (FileNotFoundError(2, "No such file"), "not installed", "sudo apt install raspi-utils"),
        (PermissionError(13, "Permission denied"), "Permission denied", "by hand"),
        (subprocess.TimeoutExpired("vcgencmd", 2), "does not answer", "reboot"),
    ],
)
def test_answers_that_are_no_power(answer: str | Exception, message: str, hint: str) -> None:
    said = _dump(answer) if answer == "half_rail" else answer
    with pytest.raises(SensorUnavailable) as caught:
        rpi5_meters(PI5, run=Runner(said))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_other_boards_and_other_machines_trees() -> None:
    with pytest.raises(SensorUnavailable, match="names no Raspberry Pi 5") as caught:
        rpi5_meters(MACHINES / "rpi4", run=Runner(_dump("healthy")))
    assert "older Raspberry Pis measure no current" in caught.value.hint
    with pytest.raises(SensorUnavailable, match="no vcgencmd to run"):
        rpi5_meters(PI5)


def test_the_correction_is_a_model_and_says_its_source() -> None:
    model = modelled_input(4.0)
    assert isinstance(model, ModelledPower)
    assert model.watts == pytest.approx(1.1451 * 4 + 0.5879)
    assert model.inputs == (("rails_w", 4.0),)
    assert "RPi5-power" in model.source
