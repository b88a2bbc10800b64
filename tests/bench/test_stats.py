from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.bench.stats import block_medians, median_interval, percentile, summarise, trend_z
from edgecnn.errors import MeasurementError

FINITE = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
SERIES = st.lists(FINITE, min_size=10, max_size=120)
DURATIONS = st.lists(st.integers(1, 10**12), min_size=10, max_size=120)


def test_summary_of_known_samples() -> None:
    metric = summarise("latency", "ns", range(1, 101), seed=3)
    assert (metric.name, metric.unit, metric.n) == ("latency", "ns", 100)
    assert (metric.min, metric.median, metric.max, metric.mean) == (1.0, 50.5, 100.0, 50.5)
    assert metric.p90 == pytest.approx(90.1)
    assert metric.p99 == pytest.approx(99.01)
    assert metric.samples == tuple(float(i) for i in range(1, 101))
    assert metric.ci95 is not None


def test_one_sample_has_no_percentile_and_no_interval() -> None:
    metric = summarise("load", "ns", [7])
    assert (metric.n, metric.median, metric.p90, metric.p99, metric.ci95) == (1, 7.0, None, None, None)


@pytest.mark.parametrize(
    ("count", "p90", "p99"), [(9, False, False), (10, True, False), (99, True, False), (100, True, True)]
)
def test_percentiles_need_as_many_samples_as_put_one_above_them(count: int, p90: bool, p99: bool) -> None:
    metric = summarise("x", "ns", range(count))
    assert (metric.p90 is not None, metric.p99 is not None) == (p90, p99)
    assert (metric.ci95 is not None) == (count >= 10)


def test_the_999th_of_a_thousand_needs_a_thousand() -> None:
    assert percentile(range(999), 99.9) is None
    assert percentile(range(1000), 99.9) == pytest.approx(998.001)


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_samples_that_are_no_numbers_are_refused(samples: list[float]) -> None:
    with pytest.raises(MeasurementError, match="expected finite samples"):
        summarise("latency", "ns", samples)


@given(SERIES)
def test_every_summary_lies_between_least_and_greatest(samples: list[float]) -> None:
    metric = summarise("x", "ns", samples)
    assert metric.ci95 is not None
    assert metric.p90 is not None
    slack = 1e-9 * max(1.0, abs(metric.min), abs(metric.max))
    for value in (metric.median, metric.p90, metric.mean, *metric.ci95):
        assert metric.min - slack <= value <= metric.max + slack
    assert metric.ci95[0] <= metric.median <= metric.ci95[1]


@given(DURATIONS, st.integers(0, 5), st.sampled_from([2, 1024]))
@settings(max_examples=25)
def test_the_interval_follows_the_unit(samples: list[int], seed: int, factor: int) -> None:
    """Powers of two, so that scaling is exact."""
    low, high = median_interval(samples, seed=seed) or (0, 0)
    scaled = median_interval([factor * sample for sample in samples], seed=seed)
    assert scaled == pytest.approx((factor * low, factor * high), rel=1e-12)


@given(DURATIONS)
@settings(max_examples=25)
def test_the_same_seed_gives_the_same_interval(samples: list[int]) -> None:
    assert median_interval(samples, seed=1) == median_interval(samples, seed=1)


@given(st.integers(-(10**9), 10**9), st.integers(10, 60))
@settings(max_examples=25)
def test_equal_samples_have_an_interval_of_no_width(value: int, count: int) -> None:
    assert median_interval([value] * count) == (value, value)


@given(st.lists(st.integers(-50, 50), min_size=10, max_size=70), st.integers(1, 40))
@settings(max_examples=30)
def test_resampled_medians_are_those_of_the_resamples(samples: list[int], blocks: int) -> None:
    """The interval without any resample being built equals the one of the definition."""
    blocks = min(blocks, len(samples))
    drawn = np.random.default_rng(0).multinomial(blocks, np.full(blocks, 1 / blocks), size=50)
    parts = np.array_split(np.array(samples, float), blocks)
    medians = [
        np.median(np.concatenate([np.tile(part, n) for part, n in zip(parts, row, strict=True)])) for row in drawn
    ]
    expected = np.percentile(medians, [2.5, 97.5])
    assert median_interval(samples, blocks=blocks, resamples=50) == pytest.approx(tuple(expected))


def _covered(draw: object, truth: float, *, blocks: int, trials: int = 100) -> float:
    assert callable(draw)
    hits = 0
    for trial in range(trials):
        low, high = median_interval(draw(np.random.default_rng(trial)), seed=trial, blocks=blocks, resamples=300) or (
            0,
            0,
        )
        hits += low <= truth <= high
    return hits / trials


@pytest.mark.parametrize(
    ("name", "truth"),
    [("standard_normal", 0.0), ("standard_exponential", math.log(2)), ("standard_cauchy", 0.0)],
)
def test_the_interval_covers_the_true_median(name: str, truth: float) -> None:
    """Nominal 0.95; 100 trials have a standard error of 0.022, and 40 blocks cost a little coverage."""
    assert 0.88 <= _covered(lambda generator: getattr(generator, name)(400), truth, blocks=40) <= 0.99


def _wandering(generator: np.random.Generator) -> NDArray[np.float64]:
    """1600 samples of a process in which neighbours resemble each other: AR(1) with coefficient 0.9, median 0."""
    series = generator.standard_normal(1600)
    for i in range(1, 1600):
        series[i] += 0.9 * series[i - 1]
    return series


def _single_sample_interval(samples: NDArray[np.float64], generator: np.random.Generator) -> tuple[float, float]:
    medians = np.median(generator.choice(samples, (200, samples.size)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def test_blocks_are_what_makes_the_interval_honest_for_samples_that_depend_on_each_other() -> None:
    assert _covered(_wandering, 0.0, blocks=40, trials=50) >= 0.85
    generators = [np.random.default_rng(trial) for trial in range(50)]
    narrow = [_single_sample_interval(_wandering(generator), generator) for generator in generators]
    assert np.mean([low <= 0 <= high for low, high in narrow]) <= 0.60


def test_block_medians_cut_into_nearly_equal_parts() -> None:
    assert block_medians([1, 9, 2, 3, 3, 5, 8], 3).tolist() == [2.0, 3.0, 6.5]
    assert block_medians([4, 2], 20).tolist() == [4.0, 2.0]


def test_trend_of_a_rising_series() -> None:
    """S = 45, variance 10 * 9 * 25 / 18 = 125."""
    assert trend_z(range(10)) == pytest.approx(44 / math.sqrt(125))


def test_trend_takes_ties_into_account() -> None:
    """1 1 2 2: S = 4, variance (4 * 3 * 13 - 2 * (2 * 1 * 9)) / 18 = 120 / 18."""
    assert trend_z([1, 1, 2, 2]) == pytest.approx(3 / math.sqrt(120 / 18))


@pytest.mark.parametrize("values", [[], [1, 2, 3], [5, 5, 5, 5, 5]])
def test_no_trend_without_enough_or_differing_values(values: list[int]) -> None:
    assert trend_z(values) == 0.0


@given(st.lists(st.integers(-1000, 1000), max_size=40))
def test_a_reversed_series_has_the_opposite_trend(values: list[int]) -> None:
    assert trend_z(values[::-1]) == pytest.approx(-trend_z(values))


def test_chance_shows_a_trend_as_often_as_the_level_says() -> None:
    generator = np.random.default_rng(0)
    scores = [trend_z(generator.standard_normal(20)) for _ in range(2000)]
    assert np.mean(np.abs(scores) > 1.96) == pytest.approx(0.05, abs=0.02)
