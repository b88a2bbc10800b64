from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.power.energy import make_trace, total_joules
from edgecnn.devices.sensors import Moment
from edgecnn.devices.sensors.csvlog import CsvMeter, check_wall_clock, stamp_ns, unit_w
from edgecnn.errors import BadInput, MeasurementError, SensorUnavailable

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND
BEGIN, END = Moment(t_ns=50 * SECOND, wall_ns=WALL), Moment(t_ns=60 * SECOND, wall_ns=WALL + 10 * SECOND)


def _log(folder: Path, text: str) -> Path:
    path = folder / "log.csv"
    path.write_text(text)
    return path


def _ramp(stamp: str = "{seconds}", header: str = "Time,Power") -> str:
    rows = [f"{stamp.format(seconds=1_700_000_000 + at)},{2 + at}" for at in range(-3, 14)]
    return "\n".join([header, *rows, ""])


def test_rows_come_to_the_measuring_clock(tmp_path: Path) -> None:
    readings = CsvMeter(_log(tmp_path, _ramp())).readings(BEGIN, END)
    assert readings[0].t_ns == 47 * SECOND
    at_begin = next(reading for reading in readings if reading.t_ns == BEGIN.t_ns)
    assert at_begin.values == (2.0,)


def test_energy_of_a_ramp_in_closed_form(tmp_path: Path) -> None:
    """P = 2 + t from t = 0.5 to 8.25: 2 * 7.75 + (8.25^2 - 0.5^2) / 2."""
    meter = CsvMeter(_log(tmp_path, _ramp()))
    trace = make_trace(meter.spec, meter.readings(BEGIN, END))
    joules = total_joules(trace, BEGIN.t_ns + SECOND // 2, BEGIN.t_ns + round(8.25 * SECOND))
    assert joules == pytest.approx(2 * 7.75 + (8.25**2 - 0.5**2) / 2)


def test_an_offset_moves_the_log(tmp_path: Path) -> None:
    """The log's clock is 2 s fast: what it stamped 2 s after the beginning happened at the beginning."""
    readings = CsvMeter(_log(tmp_path, _ramp()), offset_s=2.0).readings(BEGIN, END)
    assert next(reading for reading in readings if reading.t_ns == BEGIN.t_ns).values == (4.0,)


def test_columns_by_name_and_milliwatts(tmp_path: Path) -> None:
    text = "n;Zeit;U [V];P [mW]\n1;1700000000.5;5.1;2500\n2;1700000001.5;5.1;2600\n"
    with pytest.raises(BadInput, match="say which"):
        CsvMeter(_log(tmp_path, text)).readings(BEGIN, END)
    readings = CsvMeter(_log(tmp_path, text), time="Zeit", power="P [mW]").readings(BEGIN, END)
    assert [reading.values for reading in readings] == [(2.5,), (2.6,)]
    assert readings[0].t_ns == BEGIN.t_ns + SECOND // 2
    with pytest.raises(BadInput, match="expected Watt, got n, Zeit"):
        CsvMeter(_log(tmp_path, text), time="Zeit", power="Watt").available()


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1700000000", WALL),
        ("1700000000.25", WALL + SECOND // 4),
        ("1700000000250", WALL + SECOND // 4),
        ("1700000000250000", WALL + SECOND // 4),
        ("1700000000250000000", WALL + SECOND // 4),
        ("2023-11-14T22:13:20Z", WALL),
        ("2023-11-14 22:13:20.25+00:00", WALL + SECOND // 4),
        ("2023-11-14T23:13:20,123456789+0100", WALL + 123456789),
    ],
)
def test_time_stamps(text: str, nanoseconds: int) -> None:
    assert stamp_ns(text) == pytest.approx(nanoseconds, abs=200)


@pytest.mark.parametrize("text", ["2023-11-14T22:13:20", "22:13:20", "", "yesterday", "-5", "2023-13-14T22:13:20Z"])
def test_a_time_without_zone_or_sense_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError):
        stamp_ns(text)
    with pytest.raises(SensorUnavailable, match="line 2: expected a time with its zone"):
        CsvMeter(_log(tmp_path, f"time,power\n{text},3.5\n")).available()


@given(st.integers(min_value=10**17, max_value=4 * 10**18))
def test_nanoseconds_come_back_whole(stamp: int) -> None:
    assert stamp_ns(str(stamp)) == stamp


def test_rows_that_repeat_are_one_and_a_line_that_is_being_written_is_none(tmp_path: Path) -> None:
    text = "time,power\n1700000000,3\n1700000000,3\n\n1700000001,4\n17000"
    readings = CsvMeter(_log(tmp_path, text)).readings(BEGIN, END)
    assert [reading.values[0] for reading in readings] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("header", "watts"),
    [
        ("Power (W)", 1.0),
        ("power_w", 1.0),
        ("Power", 1.0),
        ("power_mW", 1e-3),
        ("P[mW]", 1e-3),
        ("milliwatts", 1e-3),
        ("Power / kW", 1e3),
        ("power uW", 1e-6),
        ("Watts", 1.0),
    ],
)
def test_a_column_s_unit_is_in_its_header(tmp_path: Path, header: str, watts: float) -> None:
    assert unit_w(header) == watts
    (tmp_path / "log.csv").write_text(f"time,{header}\n1700000000,250\n")
    ((_, power),) = CsvMeter(tmp_path / "log.csv")._rows()
    assert power == pytest.approx(250 * watts)


@pytest.mark.parametrize("header", ["powerful", "pressure", "weight", "voltage"])
def test_a_column_of_something_else_is_not_taken_for_power(tmp_path: Path, header: str) -> None:
    (tmp_path / "log.csv").write_text(f"time,{header}\n1700000000,250\n")
    with pytest.raises(BadInput, match="power column"):
        CsvMeter(tmp_path / "log.csv").available()


def test_a_row_that_jumps_back_is_a_clock_that_stepped(tmp_path: Path) -> None:
    text = "time,power\n1700000000,3\n1700000005,3\n1700000002,4\n"
    meter = CsvMeter(_log(tmp_path, text))
    with pytest.raises(MeasurementError, match="clock went back by 3 s"):
        make_trace(meter.spec, meter.readings(BEGIN, END))


@pytest.mark.parametrize("step_ns", [SECOND, -SECOND, 30_000_000])
def test_a_wall_clock_that_steps_is_no_measurement(tmp_path: Path, step_ns: int) -> None:
    stepped = Moment(t_ns=END.t_ns, wall_ns=END.wall_ns + step_ns)
    with pytest.raises(MeasurementError, match="wall clock stepped by"):
        CsvMeter(_log(tmp_path, _ramp())).readings(BEGIN, stepped)


def test_a_wall_clock_that_ntp_slews_is_one() -> None:
    check_wall_clock(BEGIN, Moment(t_ns=END.t_ns, wall_ns=END.wall_ns + 4_000_000))


def test_a_log_of_another_time_says_how_far_away_it_is(tmp_path: Path) -> None:
    late = Moment(t_ns=END.t_ns, wall_ns=WALL + 7200 * SECOND)
    with pytest.raises(SensorUnavailable, match=r"no rows of the measurement: it begins 7203.0 s before it") as caught:
        CsvMeter(_log(tmp_path, _ramp())).readings(late, late)
    assert "offset_s" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ("time,power\n", "has no rows"),
        ("time,power\n1700000000\n", "line 2"),
        ("time,power\n1700000000,nan\n", "line 2"),
        ("time,power\n1700000000,OL\n", "line 2"),
    ],
)
def test_logs_that_say_nothing(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SensorUnavailable, match=message):
        CsvMeter(_log(tmp_path, text)).available()


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable, match="cannot be read"):
        CsvMeter(tmp_path / "none.csv").available()
    (tmp_path / "log.csv").write_bytes(b"\xff\xfe\x00t")
    with pytest.raises(SensorUnavailable, match="is not text"):
        CsvMeter(tmp_path / "log.csv").available()
