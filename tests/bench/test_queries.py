"""How a plan becomes a load, and what of it goes into the record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench import make_plan
from edgecnn.bench.queries import figures_of, mean_run_ns, offline_samples, run_load, seconds_missed
from edgecnn.bench.scenarios import MAX_QUERIES
from edgecnn.results import ScenarioFigures
from edgecnn.testing.fakes import FakeClock

MS = 1_000_000


def _offline(costs: Callable[[int], int], *, seconds: float = 2.0, batch: int = 4) -> ScenarioFigures:
    """Return the figures of runs whose duration depends on their number, sized as the worker sizes them."""
    plan, clock, runs = make_plan(scenario="offline", seconds=seconds, batch=batch), FakeClock(), 0

    def run() -> None:
        nonlocal runs
        clock.advance(costs(runs))
        runs += 1

    run_ns = mean_run_ns(plan, run, clock)
    return figures_of(run_load(plan, run, run_ns=run_ns, clock=clock), plan)


def test_offline_lasts_as_long_as_was_asked_for() -> None:
    """A run in ten takes ten times as long: the median says 1 ms, and they take 1.9 ms each."""
    figures = _offline(lambda number: (10 if number % 10 == 0 else 1) * MS)
    assert figures.seconds == pytest.approx(2.0, rel=0.05)
    assert not [note for note in figures.notes if "asked for" in note]
    assert figures.samples_per_second == pytest.approx(4 / 1.9e-3, rel=0.05)


@pytest.mark.slow
def test_more_samples_than_the_rules_ask_for_are_run_where_the_time_is_longer() -> None:
    figures = _offline(lambda number: MS // 10, seconds=10.0, batch=1)
    assert figures.seconds == pytest.approx(10.0)
    assert figures.samples_per_second * figures.seconds == pytest.approx(100_000)


@pytest.mark.slow
def test_by_how_much_the_time_was_passed_is_said() -> None:
    """Runs take 2 ms while they are looked at, for a tenth of the time, and 5 ms afterwards."""
    slower = _offline(lambda number: (2 if number < 100 else 5) * MS)
    assert slower.seconds == pytest.approx(5.0)
    assert slower.notes[-1] == (
        "the query took 5.00 s, 150% longer than the 2.00 s asked for: runs were slower than just before it"
    )
    faster = _offline(lambda number: (5 if number < 40 else 2) * MS)
    assert faster.notes[-1] == (
        "the query took 800 ms, 60% shorter than the 2.00 s asked for: runs were faster than just before it"
    )
    single = _offline(lambda number: 3000 * MS)
    assert single.notes[-1] == "the query took 3.00 s, 50% longer than the 2.00 s asked for: it is a single batch"
    full = _offline(lambda number: 1000, batch=1)
    assert (
        full.notes[-1]
        == f"the query took 1.05 s, 48% shorter than the 2.00 s asked for: it has no more than {MAX_QUERIES:,} samples"
    )
    assert seconds_missed(slower.seconds, make_plan(scenario="offline", seconds=2)) == pytest.approx(1.5)


def test_only_offline_is_held_to_its_seconds() -> None:
    assert seconds_missed(2.05, make_plan(scenario="offline", seconds=2)) is None
    assert seconds_missed(None, make_plan(scenario="offline", seconds=2)) is None
    assert seconds_missed(9.0, make_plan(scenario="single-stream", seconds=2)) is None


@given(st.floats(0.01, 100), st.integers(1, 64), st.floats(1, 1e11), st.sampled_from([1 << 18, MAX_QUERIES]))
def test_samples_are_whole_batches_near_the_time(seconds: float, batch: int, run_ns: float, most: int) -> None:
    samples = offline_samples(make_plan(scenario="offline", seconds=seconds, batch=batch), run_ns, most=most)
    assert samples % batch == 0
    assert batch <= samples <= most
    if samples + batch <= most:
        assert abs(samples / batch - seconds * 1e9 / run_ns) <= max(0.5, 1 - seconds * 1e9 / run_ns) + 1e-6


def test_a_query_that_fills_no_batch_runs_with_padding() -> None:
    plan, clock, runs = make_plan(scenario="multi-stream", seconds=0.1, batch=3), FakeClock(), 0

    def run() -> None:
        nonlocal runs
        clock.advance(10 * MS)
        runs += 1

    result = run_load(plan, run, run_ns=10 * MS, clock=clock)
    assert (runs, len(result.latencies_ns), set(result.latencies_ns)) == (12, 4, {30 * MS})
    figures = figures_of(result, plan)
    assert (
        figures.notes[-1]
        == "a query of 8 images ran as 3 batches of 3: 1 of 9 images are padding; measure with --batch 8"
    )
    assert (figures.seconds, figures.valid) == (0.12, None)
