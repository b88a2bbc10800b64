from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.devices.sensors import Channel, LiveMeter, MeterSpec
from edgecnn.devices.sensors.files import read_sensor_file, sensor_integer
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import FakeClock

SPEC = MeterSpec(
    name="m",
    kind="sampler",
    domain="d",
    coverage="board",
    note="",
    channels=(Channel(name="a"), Channel(name="b")),
    resolution=None,
    update_period_s=0.1,
    averaging_s=0.0,
    poll_s=0.05,
    accuracy=None,
)


class Fixed(LiveMeter):
    def __init__(self, values: tuple[float, ...], clock: FakeClock | None = None, takes_ns: int = 0) -> None:
        super().__init__(SPEC)
        self._fixed, self._clock, self._takes_ns = values, clock, takes_ns

    def values(self) -> tuple[float, ...]:
        if self._clock:
            self._clock.advance(self._takes_ns)
        return self._fixed


def test_a_reading_has_the_middle_of_its_time_and_its_length() -> None:
    clock = FakeClock(start_ns=1000)
    reading = Fixed((1.0, 2.0), clock, takes_ns=600).read(clock.now_ns)
    assert (reading.t_ns, reading.width_ns, reading.values) == (1300, 600, (1.0, 2.0))


@pytest.mark.parametrize("values", [(math.nan, 1.0), (math.inf, 1.0), (1.0,), ()])
def test_what_is_no_power_is_no_reading(values: tuple[float, ...]) -> None:
    meter = Fixed(values)
    with pytest.raises(SensorUnavailable, match="expected 2 finite values"):
        meter.read(FakeClock().now_ns)
    with pytest.raises(SensorUnavailable, match="expected 2 finite values"):
        meter.available()


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 2.0),  # 20 updates
        ({"averaging_s": 1.0}, 10.0),  # 10 averages
        ({"averaging_s": None}, 2.0),
        ({"least_window_s": 60.0}, 60.0),
        ({"update_period_s": 0.001}, 1.0),  # 20 readings
    ],
)
def test_the_shortest_window_follows_from_the_sensor(changes: dict[str, float], seconds: float) -> None:
    assert replace(SPEC, **changes).shortest_window_s == pytest.approx(seconds)


def test_settling_outlasts_average_and_update() -> None:
    assert replace(SPEC, averaging_s=1.0).settle_s == pytest.approx(1.0 + 0.1 + 2 * 0.05)


def _raising(error: OSError):  # type: ignore[no-untyped-def]
    def read(path: Path) -> str:
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (PermissionError(13, "Permission denied"), "only root may read", "sudo chmod a+r"),
        (FileNotFoundError(2, "No such file"), "is gone", "driver"),
        (OSError(11, "Resource temporarily unavailable"), "does not answer (EAGAIN)", "dmesg"),
        (OSError(121, "Remote I/O error"), "does not answer (EREMOTEIO)", "dmesg"),
    ],
)
def test_why_a_file_cannot_be_read(error: OSError, message: str, hint: str) -> None:
    with pytest.raises(SensorUnavailable) as caught:
        sensor_integer(Path("/sys/x"), "m", read=_raising(error))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("-12\n")
    (tmp_path / "bad").write_text("12 W\n")
    assert sensor_integer(tmp_path / "good", "m") == -12
    with pytest.raises(SensorUnavailable, match="expected a whole number, got '12 W'"):
        sensor_integer(tmp_path / "bad", "m")
    with pytest.raises(SensorUnavailable, match="is gone"):
        sensor_integer(tmp_path / "none", "m")
    with pytest.raises(IsADirectoryError):
        read_sensor_file(tmp_path)
    with pytest.raises(SensorUnavailable, match="EISDIR"):
        sensor_integer(tmp_path, "m")
