from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.power.energy import (
    Trace,
    check_alive,
    joules,
    longest_gap_s,
    make_trace,
    mean_w,
    total_joules,
)
from edgecnn.devices.sensors import Channel, MeterSpec, Reading
from edgecnn.errors import MeasurementError

SECOND = 1_000_000_000

SAMPLER = MeterSpec(
    name="s",
    kind="sampler",
    domain="d",
    coverage="board",
    note="",
    channels=(Channel(name="a"),),
    resolution=None,
    update_period_s=0.1,
    averaging_s=0.0,
    poll_s=0.1,
    accuracy=None,
)
COUNTER = replace(SAMPLER, name="c", kind="counter", channels=(Channel(name="a", wrap_j=65536.0),))


def _readings(values: Sequence[float], *, step_s: float = 0.1, start_ns: int = 7 * SECOND) -> list[Reading]:
    return [
        Reading(t_ns=start_ns + round(number * step_s * SECOND), width_ns=0, values=(value,))
        for number, value in enumerate(values)
    ]


def _sampled(watts: Callable[[float], float], *, seconds: float = 2.0, step_s: float = 0.1) -> Trace:
    count = round(seconds / step_s) + 1
    return make_trace(SAMPLER, _readings([watts(number * step_s) for number in range(count)], step_s=step_s))


def _at(seconds: float) -> int:
    return 7 * SECOND + round(seconds * SECOND)


# --- samplers


def test_constant_power_times_time() -> None:
    assert total_joules(_sampled(lambda _: 3.5), _at(0.33), _at(1.71)) == pytest.approx(3.5 * 1.38)


def test_a_ramp_is_exact_also_between_two_readings() -> None:
    """P = 2 + 4 t: joules = 2 (b - a) + 2 (b^2 - a^2)."""
    trace = _sampled(lambda t: 2 + 4 * t)
    for begin, end in ((0.0, 2.0), (0.05, 1.95), (0.52, 0.58), (0.49, 0.51)):
        expected = 2 * (end - begin) + 2 * (end**2 - begin**2)
        assert total_joules(trace, _at(begin), _at(end)) == pytest.approx(expected), (begin, end)


def test_a_triangle_has_its_trapezoids() -> None:
    trace = make_trace(SAMPLER, _readings([0.0, 10.0, 0.0]))
    assert total_joules(trace, _at(0), _at(0.2)) == pytest.approx(1.0)
    assert total_joules(trace, _at(0.05), _at(0.15)) == pytest.approx(0.75)


@given(
    st.lists(st.floats(0.01, 500), min_size=4, max_size=40),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_parts_add_up_to_the_whole_and_means_stay_between_the_extremes(
    watts: list[float], a: float, b: float, c: float
) -> None:
    trace = make_trace(SAMPLER, _readings(watts))
    first, middle, last = sorted(_at(share * (len(watts) - 1) * 0.1) for share in (a, b, c))
    if first < middle < last:
        parts = total_joules(trace, first, middle) + total_joules(trace, middle, last)
        assert parts == pytest.approx(total_joules(trace, first, last), rel=1e-6)
        assert min(watts) * (1 - 1e-6) <= mean_w(trace, first, last) <= max(watts) * (1 + 1e-6)


def test_channels_that_another_feeds_are_not_added() -> None:
    spec = replace(SAMPLER, channels=(Channel(name="in"), Channel(name="cpu", in_total=False)))
    readings = [Reading(t_ns=number * SECOND // 10, width_ns=0, values=(6.0, 2.0)) for number in range(11)]
    trace = make_trace(spec, readings)
    assert joules(trace, 0, SECOND).tolist() == pytest.approx([6.0, 2.0])
    assert total_joules(trace, 0, SECOND) == pytest.approx(6.0)
    assert trace.totals.tolist() == [6.0] * 11


# --- counters


def test_a_counter_is_interpolated_at_the_edges() -> None:
    trace = make_trace(COUNTER, _readings([100 + 0.7 * number for number in range(21)]))
    assert total_joules(trace, _at(0.33), _at(1.71)) == pytest.approx(7 * 1.38)


@given(
    start=st.floats(0, 65535.9),
    steps=st.lists(st.floats(0, 400), min_size=3, max_size=60),
    wrap=st.floats(1000, 65536),
)
def test_wraps_come_out_whatever_the_counter_began_with(start: float, steps: list[float], wrap: float) -> None:
    spec = replace(COUNTER, channels=(Channel(name="a", wrap_j=wrap),))
    raw, total = [start % wrap], start % wrap
    for step in steps:
        total += step
        raw.append(total % wrap)
    trace = make_trace(spec, _readings(raw))
    assert trace.values[0, -1] == pytest.approx(sum(steps), abs=1e-5)


def test_two_channels_wrap_at_their_own_ranges() -> None:
    spec = replace(COUNTER, channels=(Channel(name="a", wrap_j=1000.0), Channel(name="b", wrap_j=2000.0)))
    readings = [
        Reading(t_ns=0, width_ns=0, values=(999.0, 1998.0)),
        Reading(t_ns=SECOND // 10, width_ns=0, values=(2.0, 3.0)),
    ]
    assert joules(make_trace(spec, readings), 0, SECOND // 10).tolist() == pytest.approx([3.0, 5.0])


def test_a_counter_that_jumps_back_is_no_wrap() -> None:
    """A wrap from 100 to 99 J would be 65535 J in a tenth of a second."""
    with pytest.raises(MeasurementError, match=r"c: a jumped from 100 to 99 J in 0.1 s"):
        make_trace(COUNTER, _readings([98.0, 99.0, 100.0, 99.0]))


def test_a_counter_that_is_set_back_near_its_end_is_no_wrap() -> None:
    """From 64 kJ to 0 is 1.5 kJ as a wrap: possible in half a second of 5 kW, and not between two updates of a fast counter."""
    with pytest.raises(MeasurementError, match=r"jumped from 64000 to 0 J"):
        make_trace(COUNTER, _readings([63_990.0, 64_000.0, 0.0, 1.0]))


def test_two_updates_of_a_slow_counter_may_lie_between_two_readings() -> None:
    slow = replace(COUNTER, update_period_s=0.1, channels=(Channel(name="a"),))
    make_trace(slow, _readings([0.0, 0.0, 300.0]))


def test_a_counter_without_a_wrap_never_falls() -> None:
    spec = replace(COUNTER, channels=(Channel(name="a"),))
    with pytest.raises(MeasurementError, match="jumped from 5 to 0 J"):
        make_trace(spec, _readings([4.0, 5.0, 0.0, 1.0]))


def test_a_counter_that_leaps_forward_is_no_power() -> None:
    with pytest.raises(MeasurementError, match="jumped from 2 to 9000 J"):
        make_trace(COUNTER, _readings([1.0, 2.0, 9000.0]))


def test_a_counter_that_was_not_read_for_a_whole_range_may_have_wrapped_unseen() -> None:
    readings = [Reading(t_ns=t * SECOND, width_ns=0, values=(float(t),)) for t in (0, 1, 15)]
    with pytest.raises(MeasurementError, match=r"not read for 14.0 s and may have wrapped"):
        make_trace(COUNTER, readings)


def test_a_counter_misses_nothing_in_a_gap_but_for_its_edges() -> None:
    times = [0, 1, 2, 3, 33, 34, 35]
    readings = [Reading(t_ns=_at(t / 10), width_ns=0, values=(t / 10 * 8,)) for t in times]
    trace = make_trace(COUNTER, readings)
    assert total_joules(trace, _at(0.1), _at(3.4)) == pytest.approx(8 * 3.3)
    with pytest.raises(MeasurementError, match=r"no reading for 3.00 s"):
        total_joules(trace, _at(0.1), _at(1.0))


# --- what makes readings useless


def test_a_clock_that_steps_back() -> None:
    readings = _readings([1.0, 1.0, 1.0])
    readings[2] = replace(readings[2], t_ns=readings[0].t_ns + 1)
    with pytest.raises(MeasurementError, match=r"clock went back by 0.1 s"):
        make_trace(SAMPLER, readings)


def test_a_clock_that_steps_forward_is_a_gap() -> None:
    readings = _readings([2.0] * 20)
    late = [replace(reading, t_ns=reading.t_ns + 10 * SECOND) for reading in readings[10:]]
    with pytest.raises(MeasurementError, match=r"no reading for 10.10 s, allowed 0.50 s"):
        total_joules(make_trace(SAMPLER, readings[:10] + late), _at(0.2), _at(11))


def test_readings_that_stop_or_begin_late() -> None:
    trace = _sampled(lambda _: 1.0)
    with pytest.raises(MeasurementError, match=r"ends 0.50 s before the window's end"):
        total_joules(trace, _at(0), _at(2.5))
    with pytest.raises(MeasurementError, match=r"begins 0.25 s after the window's beginning"):
        total_joules(trace, _at(-0.25), _at(1))


@pytest.mark.parametrize("end", [0.5, 0.2])
def test_an_empty_window(end: float) -> None:
    with pytest.raises(MeasurementError, match="expected a window"):
        total_joules(_sampled(lambda _: 1.0), _at(0.5), _at(end))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_readings(count: int) -> None:
    with pytest.raises(MeasurementError, match=f"got {count}"):
        make_trace(SAMPLER, _readings([1.0] * count))


def test_the_longest_gap_counts_also_where_it_crosses_an_edge() -> None:
    readings = [Reading(t_ns=_at(t), width_ns=0, values=(1.0,)) for t in (0.0, 0.1, 0.5, 0.6, 0.7)]
    trace = make_trace(SAMPLER, readings)
    assert longest_gap_s(trace, _at(0.4), _at(0.65)) == pytest.approx(0.4)
    assert longest_gap_s(trace, _at(0.5), _at(0.65)) == pytest.approx(0.1)


def test_a_sensor_that_repeats_itself() -> None:
    with pytest.raises(MeasurementError, match=r"says 5 W all the time"):
        check_alive(make_trace(SAMPLER, _readings([5.0] * 30)))
    with pytest.raises(MeasurementError, match=r"does not move"):
        check_alive(make_trace(COUNTER, _readings([5.0] * 30)))
    check_alive(make_trace(SAMPLER, _readings([5.0] * 29 + [5.001])))


def test_a_few_equal_readings_are_no_proof() -> None:
    check_alive(make_trace(SAMPLER, _readings([5.0] * 19)))
    slow = replace(SAMPLER, update_period_s=1.0)
    check_alive(make_trace(slow, _readings([5.0] * 100)))
