from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.power.uncertainty import budget, expanded_w, pooled_sd
from edgecnn.devices.sensors import Channel, MeterSpec
from edgecnn.powerspec import Uncertainty

SAMPLER = MeterSpec(
    name="s",
    kind="sampler",
    domain="d",
    coverage="wall",
    note="",
    channels=(Channel(name="a"),),
    resolution=0.1,
    update_period_s=1.0,
    averaging_s=0.0,
    poll_s=1.0,
    accuracy=0.02,
)


def _budget(spec: MeterSpec) -> Uncertainty:
    return budget(
        spec,
        parts_w=[9.0, 10.0, 11.0, 10.0],
        idle_before_parts_w=[4.0, 4.2],
        idle_after_parts_w=[4.4, 4.6],
        power_w=10.0,
        window_s=60.0,
        reading_s=0.1,
    )


def test_a_sampler_s_budget_line_by_line() -> None:
    found = _budget(SAMPLER)
    assert found.windows_w == pytest.approx(math.sqrt(2 / 3) / 2)
    assert found.resolution_w == pytest.approx(0.1 / math.sqrt(12))
    assert found.period_w == pytest.approx(5.9 * 1.0 / (math.sqrt(6) * 60))
    assert found.jitter_w == pytest.approx(5.9 * 0.1 / (math.sqrt(6) * 60))
    assert found.sensor_w == pytest.approx(10 * 0.02 / math.sqrt(3))
    assert found.idle_drift_w == pytest.approx(0.4 / math.sqrt(12))
    assert found.idle_scatter_w == pytest.approx(math.sqrt((0.02 + 0.02) / 2) / 2)


def test_a_counter_s_edges_cost_its_whole_power_and_its_step_is_joules() -> None:
    found = _budget(replace(SAMPLER, kind="counter"))
    assert found.period_w == pytest.approx(10 * 1.0 / (math.sqrt(6) * 60))
    assert found.resolution_w == pytest.approx(0.1 / (math.sqrt(6) * 60))


def test_what_nobody_knows_is_null_and_counts_nothing() -> None:
    found = _budget(replace(SAMPLER, resolution=None, accuracy=None))
    assert (found.resolution_w, found.sensor_w) == (None, None)
    assert expanded_w(found, net=False) > 0
    assert expanded_w(Uncertainty(), net=True) == 0


def test_sources_add_as_squares_and_two_sigma_are_stated() -> None:
    parts = Uncertainty(windows_w=3.0, sensor_w=4.0, idle_drift_w=12.0)
    assert expanded_w(parts, net=False) == pytest.approx(10.0)
    assert expanded_w(parts, net=True, idle_w=0.0, power_w=8.0) == pytest.approx(26.0)
    # Half of the power is idle: half of the error of gain is common to both.
    assert expanded_w(Uncertainty(sensor_w=4.0), net=True, idle_w=4.0, power_w=8.0) == pytest.approx(4.0)


def test_the_period_of_a_counter_as_simulation_finds_it() -> None:
    """A counter that moves every u seconds, read at random phases: the error's sd is P u / (sqrt(6) W)."""
    period, window, power = 0.1, 2.0, 50.0
    random = np.random.default_rng(0)
    begin = random.uniform(0, 10, 20000)
    # A window that is no multiple of the period, so that the phases at both ends are independent.
    end = begin + window + random.uniform(0, period, begin.size)
    counted = power * period * (np.floor(end / period) - np.floor(begin / period))
    errors = counted / window - power * (end - begin) / window
    spec = replace(SAMPLER, kind="counter", update_period_s=period)
    stated = budget(
        spec,
        parts_w=[power],
        idle_before_parts_w=[0.0],
        idle_after_parts_w=[0.0],
        power_w=power,
        window_s=window,
        reading_s=0.0,
    ).period_w
    assert stated == pytest.approx(errors.std(), rel=0.03)


@given(st.lists(st.lists(st.floats(-100, 100), min_size=1, max_size=8), min_size=1, max_size=4), st.floats(-50, 50))
def test_scatter_within_groups_does_not_see_what_lies_between_them(groups: list[list[float]], shift: float) -> None:
    found = pooled_sd(groups)
    moved = pooled_sd([[value + shift * number for value in group] for number, group in enumerate(groups)])
    if found is None:
        assert moved is None
        assert all(len(group) == 1 for group in groups)
    else:
        assert moved == pytest.approx(found, abs=1e-5)


def test_one_group_is_the_plain_standard_deviation() -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    assert pooled_sd([values]) == pytest.approx(float(np.std(values, ddof=1)))
