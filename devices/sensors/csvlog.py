"""The CSV log of an external meter, put on this machine's clock by its time stamps.

    csv:log.csv
    csv:log.csv?time=Timestamp&power=Power (W)&offset_s=0.35&coverage=wall

The meter's clock and this machine's wall clock must agree: run NTP on both, or state `offset_s` (the log's clock less this
machine's). Time stamps are Unix seconds, milliseconds, microseconds or nanoseconds, or ISO 8601 with its zone.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edgecnn.devices.sensors.base import Channel, LoggedMeter, MeterSpec, Moment, Reading
from edgecnn.errors import BadInput, MeasurementError, SensorUnavailable
from edgecnn.powerspec import Coverage

POWER_HEADER = re.compile(r"(?:power|watts?|milliwatts?|p|[munk]?w)(?![a-z])", re.IGNORECASE)
TIME_HEADER = re.compile(r"(?:time|date|t\b|utc)", re.IGNORECASE)

STEP_NS = 20_000_000
"""The wall clock was set when it went so far another way than the measuring clock, beyond what NTP slews."""

SLEW = 0.0005
"""How fast NTP may slew a clock (adjtimex(2): 500 parts per million)."""

# Rows from so long before and after the measurement, for the interpolation at its edges.
_MARGIN_NS = 5_000_000_000

_WORD = re.compile(r"[A-Za-z\u00b5]+")
_UNITS_W = {"kw": 1e3, "w": 1.0, "watt": 1.0, "mw": 1e-3, "milliwatt": 1e-3, "uw": 1e-6, "\u00b5w": 1e-6, "nw": 1e-9}
# No meter for this purpose says megawatts: "MW" is a way of writing mW.

_SCALES_NS = ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (0.0, 1_000_000_000))


class CsvMeter(LoggedMeter):
    """One column of watts in one file.

    Args:
        path: of the file; it need not exist before the measurement ends.
        time: header of the time column; None takes the first that looks like one.
        power: header of the power column; None takes the first that looks like one.
        offset_s: the log's clock less this machine's, in seconds.
        coverage: what the external meter measures; None where nobody says.
        period_s: time between two rows.
    """

    def __init__(
        self,
        path: Path,
        *,
        time: str | None = None,
        power: str | None = None,
        offset_s: float = 0.0,
        coverage: Coverage | None = None,
        period_s: float = 1.0,
    ) -> None:
        self.path = path
        self._time = time
        self._power = power
        self._offset_ns = round(offset_s * 1e9)
        super().__init__(
            MeterSpec(
                name=f"csv:{path.name}",
                kind="sampler",
                domain=power or "power",
                coverage=coverage,
                note="an external meter; its wiring tells what it includes",
                channels=(Channel(name=power or "power"),),
                resolution=None,
                update_period_s=period_s,
                averaging_s=None,
                poll_s=period_s,
                accuracy=None,
            )
        )

    def available(self) -> None:
        """Return if the file has rows; see `Meter.available`."""
        if not self._rows():
            raise SensorUnavailable(f"{self.spec.name}: has no rows", "start the meter's logging first")

    def readings(self, begin: Moment, end: Moment) -> Sequence[Reading]:
        """Return the rows of the measurement; see `LoggedMeter.readings`."""
        check_wall_clock(begin, end)
        shift_ns = begin.t_ns - begin.wall_ns - self._offset_ns
        rows = [(stamp_ns + shift_ns, watts) for stamp_ns, watts in self._rows()]
        wanted = [row for row in rows if begin.t_ns - _MARGIN_NS <= row[0] <= end.t_ns + _MARGIN_NS]
        if not wanted:
            raise SensorUnavailable(f"{self.spec.name}: has no rows of the measurement{_where(rows, begin)}", _CLOCKS)
        return [Reading(t_ns=t_ns, width_ns=0, values=(watts,)) for t_ns, watts in wanted]

    def _rows(self) -> list[tuple[int, float]]:
        """Return (Unix nanoseconds, watts) of every whole row, without those that repeat the one before word by word."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except OSError as error:
            hint = "state the path of the meter's log"
            raise SensorUnavailable(f"{self.spec.name}: cannot be read: {error.strerror}", hint) from None
        except UnicodeDecodeError:
            raise SensorUnavailable(f"{self.spec.name}: is not text", "export the log as CSV in UTF-8") from None
        # A line without its end is still being written.
        lines = text[: text.rfind("\n") + 1].splitlines()
        if not lines:
            return []
        rows = list(csv.reader(lines, delimiter=_delimiter(lines[0])))
        header = [name.strip() for name in rows[0]]
        time, power = (
            _column(header, self._time, TIME_HEADER, "time"),
            _column(header, self._power, POWER_HEADER, "power"),
        )
        scale = unit_w(header[power])
        found: list[tuple[int, float]] = []
        for number, row in enumerate(rows[1:], start=2):
            if row:
                pair = self._pair(row, time, power, scale, number)
                found.extend([pair] if not found or pair != found[-1] else [])
        return found

    def _pair(self, row: list[str], time: int, power: int, scale: float, number: int) -> tuple[int, float]:
        try:
            watts = float(row[power]) * scale
            if math.isfinite(watts):
                return stamp_ns(row[time]), watts
        except (ValueError, IndexError):
            pass
        raise SensorUnavailable(
            f"{self.spec.name}: line {number}: expected a time with its zone and a power, got {','.join(row)[:80]!r}",
            "say which columns: csv:FILE?time=HEADER&power=HEADER",
        )


def unit_w(header: str) -> float:
    """Return the watts of a column's unit, by the last word of its header that is one; 1 where it names none."""
    words = [word.lower().removesuffix("s") for word in _WORD.findall(header)]
    return next((_UNITS_W[word] for word in reversed(words) if word in _UNITS_W), 1.0)


_CLOCKS = "let NTP set both clocks, or state offset_s: csv:FILE?offset_s=SECONDS (the log's clock less this machine's)"


def stamp_ns(text: str) -> int:
    """Return a time stamp as Unix nanoseconds: a number of s, ms, us or ns by its size, or ISO 8601 with its zone.

    Raises:
        ValueError: neither; a time without a zone is none.
    """
    text = text.strip()
    if re.fullmatch(r"\d+", text):
        whole = int(text)
        return whole * next(scale for least, scale in _SCALES_NS if whole >= least)
    if re.fullmatch(r"\d+\.\d*", text):
        value = float(text)
        return round(value * next(scale for least, scale in _SCALES_NS if value >= least))
    # Python 3.10 reads no "Z" and only 3 or 6 digits of a second.
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)", text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    seconds = round(datetime.fromisoformat(f"{day}T{clock}{zone}").timestamp())
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def check_wall_clock(begin: Moment, end: Moment) -> None:
    """Return if the wall clock ran as the measuring clock did.

    Raises:
        MeasurementError: it stepped: time stamps before and after are of two clocks.
    """
    elapsed_ns = end.t_ns - begin.t_ns
    step_ns = end.wall_ns - begin.wall_ns - elapsed_ns
    if abs(step_ns) > STEP_NS + SLEW * elapsed_ns:
        raise MeasurementError(
            f"the wall clock stepped by {step_ns / 1e9:+.3f} s while a log was to be aligned to it",
            "wait until NTP has set the clock (timedatectl), then measure again",
        )


def _column(header: list[str], wanted: str | None, pattern: re.Pattern[str], kind: str) -> int:
    if wanted is not None and wanted in header:
        return header.index(wanted)
    number = next((at for at, name in enumerate(header) if wanted is None and pattern.match(name)), None)
    if number is None:
        raise BadInput(
            f"{kind} column of the meter's log",
            f"say which: csv:FILE?{kind}=HEADER",
            expected=wanted or f"a header that says {kind}",
            got=", ".join(header)[:200],
        )
    return number


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _where(rows: list[tuple[int, float]], begin: Moment) -> str:
    if not rows:
        return ""
    away_s = (rows[0][0] - begin.t_ns) / 1e9
    return f": it begins {abs(away_s):.1f} s {'after' if away_s > 0 else 'before'} it and has {len(rows)} rows"
