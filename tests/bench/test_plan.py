from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.plan import (
    load_limit_seconds,
    make_plan,
    seconds_for_runs,
    warmup_limit_seconds,
    warmup_seconds,
)
from edgecnn.errors import BadInput, Contradiction, UnknownName


def test_defaults() -> None:
    plan = make_plan()
    assert (plan.batch, plan.min_runs, plan.warmup_runs, plan.min_seconds, plan.max_seconds, plan.seed) == (
        1,
        30,
        10,
        2.0,
        10.0,
        0,
    )
    assert (plan.timed, plan.isolation, plan.clock, plan.clock_resolution_ns) == (
        "run",
        "process",
        "perf_counter_ns",
        None,
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch": 0}, "batch: expected at least 1, got 0"),
        ({"batch": -3}, "batch: expected at least 1, got -3"),
        ({"min_runs": 0}, "min_runs"),
        ({"warmup_runs": -1}, "warmup_runs: expected at least 0"),
        ({"seed": -1}, "seed"),
        ({"seconds": 0}, "seconds: expected above 0"),
        ({"seconds": -2.5}, "got -2.5"),
        ({"seconds": math.nan}, "got nan"),
        ({"seconds": math.inf}, "got inf"),
    ],
)
def test_values_outside_the_limits_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        make_plan(**options)


@given(st.floats(0.001, 80_000))
def test_times_are_in_order(seconds: float) -> None:
    plan = make_plan(seconds=seconds)
    assert 0.1 <= warmup_seconds(plan) <= 1.0
    assert warmup_seconds(plan) < warmup_limit_seconds(plan) <= max(2.0, plan.min_seconds / 4, 0.2)
    assert plan.min_seconds < plan.max_seconds


def test_a_big_file_may_take_longer_to_load() -> None:
    assert load_limit_seconds(500_000_000) == load_limit_seconds(0) + 100
    assert load_limit_seconds(0, builds=True) > 10 * load_limit_seconds(0)


def test_the_warm_up_of_a_default_measurement_takes_at_most_half_a_second() -> None:
    assert (warmup_seconds(make_plan()), warmup_limit_seconds(make_plan())) == (0.1, 0.5)
    assert warmup_limit_seconds(make_plan(seconds=36_000)) == 7.5


def test_a_sustained_run_lasts_as_long_as_was_asked_for() -> None:
    plan = make_plan(seconds=2, sustain_seconds=20)
    assert (plan.min_seconds, plan.max_seconds, plan.sustain_seconds) == (20.0, 20.0, 20)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scenario": "server"}, BadInput),
        ({"qps": 5.0}, BadInput),
        ({"scenario": "offline", "qps": 5.0}, BadInput),
        ({"scenario": "offline", "latency_bound_ns": 5e6}, BadInput),
        ({"scenario": "server", "qps": 5.0, "latency_bound_ns": 0.0}, BadInput),
        ({"scenario": "offline", "sustain_seconds": 5.0}, Contradiction),
        ({"sustain_seconds": 0.0}, BadInput),
        ({"load_generator": "own"}, Contradiction),
        ({"load_generator": "mlcommons"}, Contradiction),
        ({"scenario": "offline", "load_generator": "loadrunner"}, UnknownName),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_plan(**options)


def test_a_scenario_is_our_own_unless_another_generator_is_asked_for() -> None:
    plan = make_plan(scenario="offline")
    assert plan == make_plan(scenario="offline", load_generator="own")
    assert (plan.load_generator, plan.load_generator_version) == ("own", None)


def test_what_ends_with_its_time_needs_all_of_it() -> None:
    """The default plan goes on to five times its seconds to reach its number of runs; these do not."""
    assert seconds_for_runs(make_plan(min_runs=30), 1e9) == 6
    assert seconds_for_runs(make_plan(min_runs=30, sustain_seconds=10), 1e9) == 30
    assert seconds_for_runs(make_plan(min_runs=30, scenario="single-stream"), 1e9) == 30
    assert seconds_for_runs(make_plan(min_runs=30, scenario="server", qps=4), 1e9) == 8


@given(st.integers(1, 200), st.floats(1e9, 1e11))
def test_the_seconds_that_are_advised_are_enough(min_runs: int, run_ns: float) -> None:
    advised = make_plan(seconds=seconds_for_runs(make_plan(min_runs=min_runs), run_ns), min_runs=min_runs)
    assert min_runs * run_ns / 1e9 <= advised.max_seconds * (1 + 1e-9)
