from __future__ import annotations

import threading
import time

import pytest

from edgecnn.bench.power.sampler import RealStage, Recorder, keep_beat, moment
from edgecnn.devices.sensors import Channel, LiveMeter, MeterSpec
from edgecnn.errors import SensorUnavailable
from edgecnn.testing.fakes import FakeClock
from edgecnn.testing.replaymeter import ReplayMeter, ReplayStage

MS = 1_000_000

SPEC = MeterSpec(
    name="s",
    kind="sampler",
    domain="d",
    coverage=None,
    note="",
    channels=(Channel(name="a"),),
    resolution=None,
    update_period_s=0.1,
    averaging_s=0.0,
    poll_s=0.1,
    accuracy=None,
)


def _beats(takes_ms: list[int], *, period_s: float = 0.1) -> list[int]:
    """Return when each tick began, in ms, when tick n takes takes_ms[n]; it ends with the last of them."""
    clock = FakeClock(start_ns=5 * MS)
    begun: list[int] = []

    def tick() -> None:
        begun.append(clock.now_ns() // MS)
        clock.advance(takes_ms[len(begun) - 1] * MS)

    def wait(seconds: float) -> bool:
        assert seconds >= 0
        clock.advance(round(seconds * 1e9))
        return len(begun) == len(takes_ms)

    keep_beat(tick, period_s, now_ns=clock.now_ns, wait=wait)
    return begun


def test_deadlines_are_absolute() -> None:
    assert _beats([3, 40, 0, 99, 1]) == [5, 105, 205, 305, 405]


def test_beats_that_were_missed_are_not_made_up_for() -> None:
    assert _beats([1, 250, 1, 1]) == [5, 105, 405, 505]


def test_a_real_thread_keeps_the_beat_and_stops() -> None:
    stage = RealStage()
    ticks: list[int] = []
    before = threading.active_count()
    with stage.every(0.02, lambda: ticks.append(stage.now_ns())):
        time.sleep(0.25)
    assert threading.active_count() == before
    count = len(ticks)
    assert 3 <= count <= 14
    # Every tick comes after its own deadline, whatever the one before it did.
    assert all(tick - ticks[0] > -1 * MS + (number and 19 * MS) for number, tick in enumerate(ticks))
    time.sleep(0.05)
    assert len(ticks) == count


def test_what_fails_in_the_thread_is_raised_where_the_measurement_is() -> None:
    def tick() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), RealStage().every(0.01, tick):
        time.sleep(0.02)


def test_an_error_of_the_measurement_stops_the_thread_too() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), RealStage().every(0.01, lambda: None):
        raise KeyError
    assert threading.active_count() == before


def test_a_recorder_counts_what_fails_and_goes_on() -> None:
    stage = ReplayStage()
    meter = ReplayMeter(SPEC, [(0.0, (1.0,)), (0.25, (2.0,))], stage, failing={1})
    recorder = Recorder(meter, stage.now_ns)
    with stage.every(0.1, recorder.tick):
        stage.sleep(0.35)
    assert [(reading.t_ns // MS, reading.values) for reading in recorder.readings] == [
        (0, (1.0,)),
        (200, (1.0,)),
        (300, (2.0,)),
    ]
    assert recorder.failures == 1
    assert recorder.last_failure is not None
    assert "gone" in recorder.last_failure.message


def test_what_is_no_failure_of_the_sensor_is_not_hidden() -> None:
    class Broken(LiveMeter):
        def values(self) -> tuple[float, ...]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Recorder(Broken(SPEC), FakeClock().now_ns).tick()


def test_a_moment_is_the_same_on_both_clocks() -> None:
    stage = ReplayStage(start_ns=40, wall_ns=10**18)
    assert (moment(stage).t_ns, moment(stage).wall_ns) == (40, 10**18)
    stage.advance(500)
    assert (moment(stage).t_ns, moment(stage).wall_ns) == (540, 10**18 + 500)
    real = RealStage()
    first, second = moment(real), moment(real)
    assert abs((second.wall_ns - first.wall_ns) - (second.t_ns - first.t_ns)) < 50 * MS


def test_a_replayed_sensor_vanishes_and_is_not_there_before_it_begins() -> None:
    stage = ReplayStage(start_ns=1000)
    meter = ReplayMeter(SPEC, [(0.1, (1.0,)), (0.2, (2.0,))], stage, ends_s=0.3)
    for at_s, value in ((0.0, None), (0.1, 1.0), (0.25, 2.0), (0.3, None)):
        stage.advance(1000 + round(at_s * 1e9) - stage.now_ns())
        if value is None:
            with pytest.raises(SensorUnavailable):
                meter.values()
        else:
            assert meter.values() == (value,)
