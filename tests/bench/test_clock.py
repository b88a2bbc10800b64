from __future__ import annotations

from edgecnn.bench.clock import MonotonicClock, overhead_ns, resolution_ns
from edgecnn.testing.fakes import FakeClock


def test_resolution_is_the_smallest_step_that_was_seen() -> None:
    stamps = iter([0, 0, 100, 100, 130, 130, 290])

    class Coarse:
        def now_ns(self) -> int:
            return next(stamps)

    assert resolution_ns(Coarse(), reads=7) == 30


def test_a_clock_that_stands_still_has_no_resolution() -> None:
    assert resolution_ns(FakeClock()) is None


def test_overhead_is_what_one_reading_takes() -> None:
    assert overhead_ns(FakeClock(step_ns=25)) == 25.0


def test_the_real_clock_rises_and_is_finer_than_a_millisecond() -> None:
    clock = MonotonicClock()
    assert clock.now_ns() <= clock.now_ns()
    step = resolution_ns(clock)
    assert step is not None
    assert 0 < step < 1_000_000
    assert 0 < overhead_ns(clock) < 1_000_000
