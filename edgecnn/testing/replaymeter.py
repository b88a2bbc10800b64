"""A meter that replays recorded readings, and a stage whose time only moves when something moves it.

    stage = ReplayStage()
    meter = ReplayMeter(spec, [(0.0, (2.0,)), (5.0, (6.0,)), (25.0, (2.0,))], stage)
    power = measure_power(FakeRun(stage, [20_000_000]), meter, images_per_run=1, stage=stage)

drives everything that a real measurement does, without a thread and without waiting.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from edgecnn.devices.sensors.base import LiveMeter, MeterSpec
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import FakeClock


class ReplayStage(FakeClock):
    """A clock, and a beat that is struck while the clock is moved on.

    Args:
        start_ns: what the clock shows at first.
        wall_ns: Unix time at that moment.
        step_ns: by how much every reading of the clock moves it on, after the reading; the beat does not hear it.
    """

    def __init__(self, *, start_ns: int = 0, wall_ns: int = 1_700_000_000_000_000_000, step_ns: int = 0) -> None:
        super().__init__(start_ns=start_ns, step_ns=step_ns)
        self._wall_offset_ns = wall_ns - start_ns
        self._tick: Callable[[], None] | None = None
        self._period_ns = 0
        self._next_ns = 0

    def wall_ns(self) -> int:
        """Return Unix time in nanoseconds."""
        return self._now_ns + self._wall_offset_ns

    def step_wall(self, nanoseconds: int) -> None:
        """Set the wall clock; the measuring clock does not hear it."""
        self._wall_offset_ns += nanoseconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.advance(round(seconds * 1e9))

    def advance(self, nanoseconds: int) -> None:
        """Move the clock on and strike every beat on the way, at its time."""
        end_ns = self._now_ns + nanoseconds
        while self._tick and self._next_ns <= end_ns:
            self._now_ns = max(self._now_ns, self._next_ns)
            self._next_ns += self._period_ns
            self._tick()
        self._now_ns = max(self._now_ns, end_ns) if nanoseconds >= 0 else end_ns

    @contextmanager
    def every(self, period_s: float, tick: Callable[[], None]) -> Iterator[None]:
        """Strike a beat now and at this period; see `Stage.every`."""
        self._tick, self._period_ns = tick, round(period_s * 1e9)
        self._next_ns = self._now_ns
        self.advance(0)
        try:
            yield
        finally:
            self._tick = None


class ReplayMeter(LiveMeter):
    """Answers with the last recorded reading before now; before the first and after `ends_s` it has vanished.

    Args:
        spec: of the meter that was recorded.
        recorded: (seconds, values) in order of time, as they were read.
        clock: by which it is replayed; 0 of the recording is what it shows now.
        ends_s: when the sensor vanishes, None for never.
        failing: 0-based numbers of readings that fail.

    Attributes:
        reads: how often it was read.
    """

    def __init__(
        self,
        spec: MeterSpec,
        recorded: Sequence[tuple[float, tuple[float, ...]]],
        clock: ReplayStage,
        *,
        ends_s: float | None = None,
        failing: Collection[int] = (),
    ) -> None:
        super().__init__(spec)
        self._clock = clock
        self._times_ns = [clock.now_ns() + round(seconds * 1e9) for seconds, _ in recorded]
        self._values = [values for _, values in recorded]
        self._end_ns = None if ends_s is None else clock.now_ns() + round(ends_s * 1e9)
        self._failing = failing
        self.reads = 0

    def values(self) -> tuple[float, ...]:
        """Return what was recorded; see `LiveMeter.values`."""
        number, now_ns = self.reads, self._clock.now_ns()
        self.reads += 1
        at = bisect_right(self._times_ns, now_ns) - 1
        if at < 0 or number in self._failing or (self._end_ns is not None and now_ns >= self._end_ns):
            raise SensorUnavailable(f"{self.spec.name}: the sensor is gone", "plug it in again")
        return self._values[at]
