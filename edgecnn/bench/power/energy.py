"""From readings to joules: wraps of counters, the trapezoid of samples, and what makes either of them a lie.

    counter   joules = sum of the differences between readings, each corrected by one wrap at most; between two readings the
              counter is taken to rise evenly
    sampler   joules = trapezoid over the readings, with linear interpolation at both ends of the window

Both need a reading before the window and one after it. Channels are corrected one by one and added up at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecnn.devices.sensors.base import Channel, MeterSpec, Reading
from edgecnn.errors import MeasurementError

Floats = NDArray[np.float64]

GAP_PERIODS = 5.0
"""Longest time between two readings, in times of the sensor's period or of polling, whichever is longer."""

GAP_SECONDS = 0.5
"""A gap below this is allowed however fast the sensor is: other processes get in the way of the reading thread."""

UPDATES = 2.0
"""So many updates of a counter, a late one included, may lie between two readings beyond the time between them."""

STUCK_READINGS = 20
"""So many readings of one value, updates of the sensor between them, are no measurement; a living one moves its last digit."""

_AGAIN = "measure again; see dmesg for the sensor's driver if it stays so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Readings of one meter in order of time, wraps corrected.

    Attributes:
        spec: of the meter.
        origin_ns: time 0 of `times_s` on the measuring clock.
        times_s: float64 [n], strictly rising.
        widths_s: float64 [n], how long each reading took.
        values: float64 [channels, n]: joules since the first reading, or watts.
    """

    spec: MeterSpec
    origin_ns: int
    times_s: Floats
    widths_s: Floats
    values: Floats

    @property
    def totals(self) -> Floats:
        """Return float64 [n]: the sum of the channels that belong to the total."""
        chosen = [number for number, channel in enumerate(self.spec.channels) if channel.in_total]
        total: Floats = self.values[chosen].sum(axis=0)
        return total

    def seconds(self, t_ns: int) -> float:
        """Return a moment of the measuring clock on this trace's time axis."""
        return (t_ns - self.origin_ns) / 1e9

    def inside(self, begin_ns: int, end_ns: int) -> NDArray[np.bool_]:
        """Return bool [n]: which readings lie in a window, ends included."""
        marks: NDArray[np.bool_] = (self.times_s >= self.seconds(begin_ns)) & (self.times_s <= self.seconds(end_ns))
        return marks


def make_trace(spec: MeterSpec, readings: Sequence[Reading]) -> Trace:
    """Return the trace of readings.

    Args:
        spec: of their meter.
        readings: in the order in which they were taken.

    Raises:
        MeasurementError: fewer than two, a clock that ran backwards, or a counter that jumped back.
    """
    if len(readings) < 2:
        raise MeasurementError(f"{spec.name}: expected readings around the measurement, got {len(readings)}", _AGAIN)
    times = np.array([reading.t_ns for reading in readings], np.int64)
    steps_ns = np.diff(times)
    if (steps_ns <= 0).any():
        back_s = -int(steps_ns.min()) / 1e9
        raise MeasurementError(f"{spec.name}: the clock went back by {back_s:.3g} s between two readings", _AGAIN)
    times_s = (times - times[0]) / 1e9
    values = np.array([reading.values for reading in readings], np.float64).T
    if spec.kind == "counter":
        values = np.stack(
            [unwrapped(row, times_s, channel, spec) for row, channel in zip(values, spec.channels, strict=True)]
        )
    return Trace(
        spec=spec,
        origin_ns=int(times[0]),
        times_s=times_s,
        widths_s=np.array([reading.width_ns for reading in readings], np.float64) / 1e9,
        values=values,
    )


def unwrapped(raw_j: Floats, times_s: Floats, channel: Channel, spec: MeterSpec) -> Floats:
    """Return joules since the first reading, float64 [n], each wrap of the counter corrected.

    Args:
        raw_j: float64 [n], the counter as read.
        times_s: float64 [n], when.
        channel: of the counter; says where it wraps.
        spec: of the meter; says what can be drawn at most: a step back that would be more as a wrap is a jump.

    Raises:
        MeasurementError: the counter jumped, or was not read for so long that it may have wrapped unseen.
    """
    steps_j, steps_s = np.diff(raw_j), np.diff(times_s)
    if channel.wrap_j is not None:
        steps_j = np.where(steps_j < 0, steps_j + channel.wrap_j, steps_j)
        if (steps_s * spec.largest_w >= channel.wrap_j).any():
            raise MeasurementError(
                f"{spec.name}: {channel.name} was not read for {steps_s.max():.1f} s and may have wrapped unseen",
                _AGAIN,
            )
    # Of two readings close together the first may lie just before an update of the counter and the second just after one.
    impossible = (steps_j < 0) | (steps_j > spec.largest_w * (steps_s + UPDATES * spec.update_period_s))
    if impossible.any():
        at = int(impossible.argmax())
        raise MeasurementError(
            f"{spec.name}: {channel.name} jumped from {raw_j[at]:.6g} to {raw_j[at + 1]:.6g} J in {steps_s[at]:.3g} s",
            "its driver was loaded again, or the machine slept: " + _AGAIN,
        )
    return np.concatenate([[0.0], np.cumsum(steps_j)])


def joules(trace: Trace, begin_ns: int, end_ns: int) -> Floats:
    """Return the energy of every channel between two moments, float64 [channels].

    Args:
        trace: with a reading before and one after the window.
        begin_ns: of the window, on the measuring clock.
        end_ns: of the window.

    Raises:
        MeasurementError: an empty window, or readings that do not cover it.
    """
    begin_s, end_s = trace.seconds(begin_ns), trace.seconds(end_ns)
    check_covered(trace, begin_ns, end_ns)
    if trace.spec.kind == "counter":
        return np.array([np.diff(np.interp([begin_s, end_s], trace.times_s, row))[0] for row in trace.values])
    strictly = (trace.times_s > begin_s) & (trace.times_s < end_s)
    times = np.concatenate([[begin_s], trace.times_s[strictly], [end_s]])
    return np.array([_trapezoid(np.interp(times, trace.times_s, row), times) for row in trace.values])


def total_joules(trace: Trace, begin_ns: int, end_ns: int) -> float:
    """Return the energy of the channels in the total between two moments; see `joules`."""
    each = joules(trace, begin_ns, end_ns)
    return float(sum(energy for energy, channel in zip(each, trace.spec.channels, strict=True) if channel.in_total))


def mean_w(trace: Trace, begin_ns: int, end_ns: int) -> float:
    """Return the mean power of the total between two moments; see `joules`."""
    return total_joules(trace, begin_ns, end_ns) * 1e9 / (end_ns - begin_ns)


def longest_gap_s(trace: Trace, begin_ns: int, end_ns: int) -> float:
    """Return the longest time between two neighbouring readings that touches the window, in seconds."""
    begin_s, end_s = trace.seconds(begin_ns), trace.seconds(end_ns)
    touches = (trace.times_s[1:] > begin_s) & (trace.times_s[:-1] < end_s)
    return float(np.diff(trace.times_s)[touches].max(initial=0.0))


def check_covered(trace: Trace, begin_ns: int, end_ns: int) -> None:
    """Return if the readings cover a window without a gap that could hide something.

    A counter misses nothing between two readings, so that only gaps across the window's ends matter.

    Raises:
        MeasurementError: an empty window, or one that they do not cover.
    """
    spec = trace.spec
    begin_s, end_s = trace.seconds(begin_ns), trace.seconds(end_ns)
    if end_s <= begin_s:
        raise MeasurementError(f"{spec.name}: expected a window, got {end_s - begin_s:.3g} s", "measure longer")
    if begin_s < trace.times_s[0] or end_s > trace.times_s[-1]:
        missing = "begins" if begin_s < trace.times_s[0] else "ends"
        late_s = max(trace.times_s[0] - begin_s, end_s - trace.times_s[-1])
        when = "after the window's beginning" if missing == "begins" else "before the window's end"
        raise MeasurementError(
            f"{spec.name}: {missing} {late_s:.2f} s {when}: the sensor vanished or came late", _AGAIN
        )
    if spec.kind == "counter":
        gap_s = max(_gap_at(trace.times_s, begin_s), _gap_at(trace.times_s, end_s))
    else:
        gap_s = longest_gap_s(trace, begin_ns, end_ns)
    allowed_s = max(GAP_PERIODS * max(spec.update_period_s, spec.poll_s), GAP_SECONDS)
    if gap_s > allowed_s:
        raise MeasurementError(
            f"{spec.name}: no reading for {gap_s:.2f} s, allowed {allowed_s:.2f} s: the sensor vanished or was held up",
            "close other programs, and measure again",
        )


def repeats_itself(trace: Trace, marks: NDArray[np.bool_]) -> bool:
    """Tell whether readings say one value only, over so many updates of the sensor that a living one would have moved.

    Args:
        trace: of the meter.
        marks: bool [n]: which readings.
    """
    spec, totals = trace.spec, trace.totals[marks]
    updates = int(marks.sum()) * float(np.median(np.diff(trace.times_s))) / max(spec.update_period_s, spec.poll_s)
    return totals.size >= STUCK_READINGS and updates >= STUCK_READINGS and float(np.ptp(totals)) == 0


def check_alive(trace: Trace) -> None:
    """Return unless the sensor repeats itself: one value all the time, idle and at work.

    Raises:
        MeasurementError: it does.
    """
    spec, totals = trace.spec, trace.totals
    if repeats_itself(trace, np.ones(totals.size, np.bool_)):
        told = "does not move" if spec.kind == "counter" else f"says {totals[0]:.6g} W all the time"
        raise MeasurementError(
            f"{spec.name}: {told}, idle and at work: stuck, or blind to what ran", "choose another meter: --power NAME"
        )


def _gap_at(times_s: Floats, moment_s: float) -> float:
    """Return the time between the readings before and after a moment, 0 where a reading lies on it."""
    after = int(np.searchsorted(times_s, moment_s))
    if after < times_s.size and times_s[after] == moment_s:
        return 0.0
    return float(times_s[after] - times_s[after - 1])


def _trapezoid(watts: Floats, times_s: Floats) -> float:
    return float(((watts[1:] + watts[:-1]) * np.diff(times_s)).sum() / 2)
