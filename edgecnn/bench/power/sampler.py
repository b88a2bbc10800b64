"""Reading a meter beside the work: a thread with absolute deadlines, and what it saw.

A `Stage` is where a measurement of power takes place: its clocks, its waiting and the beat that the meter is read to. The real
one is `RealStage`; `edgecnn.testing.replaymeter` has one whose time stands still until something moves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import Protocol

from edgecnn.bench.clock import MonotonicClock
from edgecnn.devices.sensors.base import LiveMeter, Moment, Reading
from edgecnn.errors import SensorUnavailable


class Stage(Protocol):
    """Clocks, waiting and a beat."""

    def now_ns(self) -> int:
        """Return the nanoseconds of the measuring clock."""
        ...

    def wall_ns(self) -> int:
        """Return Unix time in nanoseconds, which only another machine's log is aligned by."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def every(self, period_s: float, tick: Callable[[], None]) -> AbstractContextManager[None]:
        """Return a context in which `tick` is called at once and then at that period, beside whatever else happens."""
        ...


class RealStage:
    """This machine's clocks, and a thread."""

    now_ns = staticmethod(MonotonicClock.now_ns)
    wall_ns = staticmethod(time.time_ns)
    sleep = staticmethod(time.sleep)

    @contextmanager
    def every(self, period_s: float, tick: Callable[[], None]) -> Iterator[None]:
        """Call `tick` in a thread of its own; see `Stage.every`."""
        stop = Event()
        errors: list[BaseException] = []

        def work() -> None:
            try:
                keep_beat(tick, period_s, now_ns=self.now_ns, wait=stop.wait)
            except BaseException as error:
                errors.append(error)

        thread = Thread(target=work, name="edgecnn-meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if errors:
            raise errors[0]


def keep_beat(
    tick: Callable[[], None], period_s: float, *, now_ns: Callable[[], int], wait: Callable[[float], bool]
) -> None:
    """Call `tick` now and then at multiples of the period from now on, until `wait` says stop.

    A late call does not move the ones after it; beats that were missed are left out, never made up for in a burst.

    Args:
        tick: what is called.
        period_s: between two calls.
        now_ns: the clock.
        wait: waits for some seconds and returns whether to stop.
    """
    start_ns, period_ns, beat = now_ns(), max(1, round(period_s * 1e9)), 0
    while True:
        tick()
        beat = max(beat + 1, (now_ns() - start_ns) // period_ns + 1)
        if wait(max(0, start_ns + beat * period_ns - now_ns()) / 1e9):
            return


class Recorder:
    """Keeps what a meter says; a reading that fails is counted and leaves a gap.

    Args:
        meter: what is read.
        now_ns: the measuring clock.

    Attributes:
        readings: in order.
        failures: how many readings failed.
        last_failure: why the last of them did.
    """

    def __init__(self, meter: LiveMeter, now_ns: Callable[[], int]) -> None:
        self._meter = meter
        self._now_ns = now_ns
        self.readings: list[Reading] = []
        self.failures = 0
        self.last_failure: SensorUnavailable | None = None

    def tick(self) -> None:
        """Take one reading."""
        try:
            self.readings.append(self._meter.read(self._now_ns))
        except SensorUnavailable as error:
            self.failures += 1
            self.last_failure = error


def moment(stage: Stage) -> Moment:
    """Return this moment on both clocks; the closest of three pairs of readings."""
    pairs = [(stage.now_ns(), stage.wall_ns(), stage.now_ns()) for _ in range(3)]
    before, wall, after = min(pairs, key=lambda pair: abs(pair[2] - pair[0]))
    return Moment(t_ns=before + (after - before) // 2, wall_ns=wall)
