from __future__ import annotations

import gc

import pytest

from edgecnn.bench.clock import MonotonicClock
from edgecnn.bench.latency import MAX_SAMPLES, sample, settle, time_once, warm_up
from edgecnn.errors import MeasurementError
from edgecnn.testing.fakes import FakeClock, FakeRun

pytestmark = pytest.mark.usefixtures("few_objects")

MS = 1_000_000


def _sample(durations_ms: list[int], *, min_runs: int, min_seconds: float, max_seconds: float) -> list[int]:
    clock = FakeClock(start_ns=123)
    run = FakeRun(clock, [ms * MS for ms in durations_ms])
    samples = sample(run, clock, min_runs=min_runs, min_seconds=min_seconds, max_seconds=max_seconds)
    assert run.calls == len(samples)
    return [int(value) // MS for value in samples]


def test_every_sample_is_what_its_own_run_took() -> None:
    assert _sample([5, 7, 6, 9], min_runs=4, min_seconds=0.001, max_seconds=1) == [5, 7, 6, 9]


def test_short_runs_go_on_until_the_time_is_over() -> None:
    """10 ms each for 100 ms, although three runs would do."""
    assert len(_sample([10], min_runs=3, min_seconds=0.1, max_seconds=1)) == 10


def test_long_runs_go_on_until_there_are_enough() -> None:
    assert len(_sample([10], min_runs=30, min_seconds=0.1, max_seconds=1)) == 30


def test_very_long_runs_end_with_the_one_that_crosses_the_limit() -> None:
    assert len(_sample([300], min_runs=30, min_seconds=0.1, max_seconds=1)) == 4


def test_there_is_always_one_sample() -> None:
    assert _sample([5000], min_runs=30, min_seconds=0.1, max_seconds=1) == [5000]


def test_sampling_ends_at_the_greatest_number_of_samples() -> None:
    clock = FakeClock()
    run = FakeRun(clock, [1])
    samples = sample(run, clock, min_runs=1, min_seconds=1, max_seconds=1, max_samples=1000)
    assert samples.tolist() == [1] * 1000
    assert MAX_SAMPLES >= 1_000_000


def test_the_clock_is_read_twice_a_run_and_once_at_the_start() -> None:
    clock = FakeClock(step_ns=3)
    samples = sample(FakeRun(clock, [100]), clock, min_runs=20, min_seconds=0, max_seconds=1)
    assert clock.reads == 41
    assert samples.tolist() == [103] * 20


def test_garbage_collection_waits_until_after_the_loop() -> None:
    states = []
    clock = FakeClock()
    run = FakeRun(clock, [MS], on_call=lambda _: states.append(gc.isenabled()))
    assert gc.isenabled()
    sample(run, clock, min_runs=3, min_seconds=0, max_seconds=1)
    assert states == [False] * 3
    assert gc.isenabled()


def test_garbage_collection_that_was_off_stays_off() -> None:
    clock = FakeClock()
    gc.disable()
    try:
        sample(FakeRun(clock, [MS]), clock, min_runs=1, min_seconds=0, max_seconds=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_garbage_collection_comes_back_when_a_run_fails() -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    clock = FakeClock()
    with pytest.raises(ZeroDivisionError):
        sample(FakeRun(clock, [MS], on_call=fail), clock, min_runs=1, min_seconds=0, max_seconds=1)
    assert gc.isenabled()


def test_a_clock_that_jumps_back_is_no_measurement() -> None:
    clock = FakeClock(start_ns=10**12)
    run = FakeRun(clock, [MS, -5 * MS, MS])
    with pytest.raises(MeasurementError, match="ran backwards"):
        sample(run, clock, min_runs=5, min_seconds=0, max_seconds=1)


@pytest.mark.parametrize(
    ("ms", "runs"),
    [
        (5, 40),  # 200 ms are what takes longer
        (10, 25),  # so many must be seen to call them steady
        (150, 7),  # a second is over before that
        (3000, 1),
    ],
)
def test_warm_up_lasts_a_number_of_runs_and_a_time_within_a_limit(ms: int, runs: int) -> None:
    clock = FakeClock()
    run = FakeRun(clock, [ms * MS])
    seen = warm_up(run, clock, min_runs=10, min_seconds=0.2, max_seconds=1.0)
    assert (seen.runs, run.calls, seen.median_ns) == (runs, runs, ms * MS)
    assert (seen.steady.start is not None) == (runs >= 25)


def test_warm_up_goes_on_until_runs_are_steady() -> None:
    """A hundred runs of 3 ms, then 1 ms: the first half of the row may be given up, no more."""
    clock = FakeClock()
    run = FakeRun(clock, [3 * MS] * 100 + [MS])
    seen = warm_up(run, clock, min_runs=150, min_seconds=0, max_seconds=10)
    assert seen.steady.start is not None
    assert 200 <= seen.runs <= 320
    assert seen.median_ns == MS


def test_warm_up_that_never_settles_ends_at_its_limit() -> None:
    clock = FakeClock()
    run = FakeRun(clock, [MS + 20_000 * call for call in range(2000)])
    seen = warm_up(run, clock, min_runs=10, min_seconds=0.1, max_seconds=1.0)
    assert seen.steady.start is None
    assert seen.steady.reason.startswith("not steady within")
    assert 1.0 <= clock.now_ns() / 1e9 < 1.1


def test_settling_runs_at_least_once_and_for_a_time() -> None:
    clock = FakeClock()
    run = FakeRun(clock, [MS])
    settle(run, clock, seconds=0.0)
    assert run.calls == 0
    settle(run, clock, seconds=0.0001)
    assert run.calls == 1
    settle(run, clock, seconds=0.005)
    assert run.calls == 1 + 5


def test_one_call_is_timed() -> None:
    clock = FakeClock(start_ns=77)
    run = FakeRun(clock, [42, 1])
    assert time_once(run, clock) == 42
    assert run.calls == 1


def test_the_loop_adds_less_than_a_microsecond_a_run() -> None:
    """Best of twenty, so that other processes do not decide."""
    clock = MonotonicClock()

    def added() -> float:
        begin = clock.now_ns()
        samples = sample(lambda: None, clock, min_runs=1, min_seconds=10, max_seconds=10, max_samples=2000)
        return (clock.now_ns() - begin - int(samples.sum())) / samples.size

    # The first row pays for what sampling does once: collecting garbage and reserving memory.
    gc.freeze()
    try:
        assert min(added() for _ in range(20)) < 1000
    finally:
        gc.unfreeze()
