"""What every power sensor is to the rest: a `Meter` that says what it measures, and gives readings.

Two kinds of meter. A `LiveMeter` is read while something runs: `read` gives joules since some start (a counter) or watts
(a sampler). A `LoggedMeter` is another program's log, read afterwards and put on this machine's clock. Neither computes
energy; `edgecnn.bench.power.energy` does, for all of them alike.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgecnn.errors import SensorUnavailable
from edgecnn.powerspec import Coverage, Kind

LARGEST_W = 5000.0
"""No machine that fits into one box draws more; what a counter seems to draw beyond is a jump, not a wrap."""

_LEAST_PERIODS = 20.0
"""With so many updates in a window, the one that falls off its edge is at most 5% of it."""

_LEAST_AVERAGES = 10.0
"""With so many averaging windows in a window, the share of what lay before it is at most 5%, half of one on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One value of a sensor: a rail of a board, a domain of a processor.

    Attributes:
        name: as the sensor calls it.
        in_total: whether it is added up; a rail that another one feeds is not.
        wrap_j: where a counter starts again from 0, in joules; None where it does not.
    """

    name: str
    in_total: bool = True
    wrap_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSpec:
    """What a meter says about itself.

    Attributes:
        name: what `--power` calls it.
        kind: "counter" or "sampler".
        domain: what is measured, in the sensor's own words.
        coverage: what the reading includes; None where only the wiring tells.
        note: what is included and left out, in one line.
        channels: what one reading consists of, in order; at least one is in the total.
        resolution: smallest step, in joules for a counter and watts for a sampler; None where unknown.
        update_period_s: how often the sensor has a new value.
        averaging_s: over how long the sensor averages; None where unknown, 0 for a momentary value.
        poll_s: how often it is read.
        accuracy: 0..1, half-width of what the sensor may be off by; None where unknown.
        largest_w: what the domain can draw at most, by which a counter's wrap is told from a jump back.
        least_window_s: the sensor's own demand on the length of a window, 0 for none.
    """

    name: str
    kind: Kind
    domain: str
    coverage: Coverage | None
    note: str
    channels: tuple[Channel, ...]
    resolution: float | None
    update_period_s: float
    averaging_s: float | None
    poll_s: float
    accuracy: float | None
    largest_w: float = LARGEST_W
    least_window_s: float = 0.0

    @property
    def shortest_window_s(self) -> float:
        """Return below what length a window says little: 20 new values, 10 averaging windows, or the sensor's own demand."""
        by_period = _LEAST_PERIODS * max(self.update_period_s, self.poll_s)
        return max(by_period, _LEAST_AVERAGES * (self.averaging_s or 0.0), self.least_window_s)

    @property
    def settle_s(self) -> float:
        """Return how long after a change of load a reading still shows what was before."""
        return (self.averaging_s or 0.0) + self.update_period_s + 2 * self.poll_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a sensor said at one moment.

    Attributes:
        t_ns: the middle of the reading, on the measuring clock.
        width_ns: how long the reading took.
        values: joules or watts of every channel, as read: a counter's wrap is not corrected yet.
    """

    t_ns: int
    width_ns: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment on two clocks.

    Attributes:
        t_ns: of the measuring clock.
        wall_ns: Unix time.
    """

    t_ns: int
    wall_ns: int


class Meter(ABC):
    """A power sensor that was found.

    Args:
        spec: what it says about itself.
    """

    def __init__(self, spec: MeterSpec) -> None:
        self.spec = spec

    @abstractmethod
    def available(self) -> None:
        """Return if the sensor can be read now.

        Raises:
            SensorUnavailable: it cannot; the message has the reason, the hint the exact fix.
        """

    def close(self) -> None:
        """Give back what the meter holds; it cannot be read afterwards."""


class LiveMeter(Meter):
    """A sensor that is read while something runs."""

    @abstractmethod
    def values(self) -> tuple[float, ...]:
        """Return joules (counter) or watts (sampler) of every channel now.

        Raises:
            SensorUnavailable: it cannot be read.
        """

    def available(self) -> None:
        """Return if a reading succeeds; see `Meter.available`."""
        self._checked()

    def read(self, now_ns: Callable[[], int]) -> Reading:
        """Return a reading with its moment.

        Args:
            now_ns: the measuring clock.

        Raises:
            SensorUnavailable: it cannot be read, or says something that is no power.
        """
        begin = now_ns()
        values = self._checked()
        end = now_ns()
        return Reading(t_ns=begin + (end - begin) // 2, width_ns=end - begin, values=values)

    def _checked(self) -> tuple[float, ...]:
        values = self.values()
        if len(values) != len(self.spec.channels) or not all(map(math.isfinite, values)):
            raise SensorUnavailable(
                f"{self.spec.name}: expected {len(self.spec.channels)} finite values, got {list(values)}",
                "read it again; a sensor that keeps doing so is broken",
            )
        return values


class LoggedMeter(Meter):
    """A log that another program writes; read once the measurement is over."""

    @abstractmethod
    def readings(self, begin: Moment, end: Moment) -> Sequence[Reading]:
        """Return what was logged between two moments and a little around them, in order of time.

        Args:
            begin: before the first phase of the measurement.
            end: after its last.

        Raises:
            SensorUnavailable: the log cannot be read, or has nothing of that time.
            MeasurementError: the wall clock stepped between the two moments.
        """
