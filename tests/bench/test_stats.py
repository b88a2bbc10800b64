from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.bench.blocks import block_length
from edgecnn.bench.stats import (
    binomial_cdf,
    block_medians,
    median_interval,
    needed_samples,
    paired_ratio,
    percentile_interval,
    ratio_interval,
    resampled_medians,
    resampled_shares,
    student_over_normal,
    summarise,
    trend_z,
)
from edgecnn.errors import MeasurementError

FINITE = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
SERIES = st.lists(FINITE, min_size=10, max_size=120)
DURATIONS = st.lists(st.integers(1, 10**12), min_size=10, max_size=120)


def test_summary_of_known_samples() -> None:
    metric = summarise("latency", "ns", range(1, 101), seed=3)
    assert (metric.name, metric.unit, metric.n) == ("latency", "ns", 100)
    assert (metric.min, metric.median, metric.max, metric.mean) == (1.0, 50.5, 100.0, 50.5)
    assert metric.p90 == pytest.approx(90.1)
    assert metric.p99 is None
    assert summarise("latency", "ns", range(1, 1001)).p99 == pytest.approx(990.01)
    assert metric.samples == tuple(float(i) for i in range(1, 101))
    assert metric.ci95 is not None


def test_one_sample_has_no_percentile_and_no_interval() -> None:
    metric = summarise("load", "ns", [7])
    assert (metric.n, metric.median, metric.p90, metric.p99, metric.ci95) == (1, 7.0, None, None, None)


@pytest.mark.parametrize(("count", "known"), [(28, 0), (29, 1), (298, 1), (299, 2), (2994, 2), (2995, 3)])
def test_percentiles_need_as_many_samples_as_put_one_above_them(count: int, known: int) -> None:
    metric = summarise("x", "ns", range(count))
    assert [value is not None for value in (metric.p90, metric.p99, metric.p999)] == [
        place < known for place in range(3)
    ]


@pytest.mark.parametrize("count", [9, 10])
def test_an_interval_needs_ten_samples(count: int) -> None:
    assert (summarise("x", "ns", range(count)).ci95 is not None) == (count >= 10)


@pytest.mark.parametrize(("percent", "needed"), [(50, 5), (90, 29), (95, 59), (99, 299), (99.9, 2995)])
def test_with_that_many_samples_one_lies_above_in_95_of_100_cases(percent: float, needed: int) -> None:
    """59 for the 95th is the number that reports of tolerance limits quote."""
    assert needed_samples(percent) == needed
    assert 1 - (percent / 100) ** needed >= 0.95 > 1 - (percent / 100) ** (needed - 1)


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_samples_that_are_no_numbers_are_refused(samples: list[float]) -> None:
    with pytest.raises(MeasurementError, match="expected finite samples"):
        summarise("latency", "ns", samples)


@given(SERIES)
def test_every_summary_lies_between_least_and_greatest(samples: list[float]) -> None:
    metric = summarise("x", "ns", samples)
    assert metric.ci95 is not None
    slack = 1e-9 * max(1.0, abs(metric.min), abs(metric.max))
    p90 = metric.median if metric.p90 is None else metric.p90
    for value in (metric.median, p90, metric.mean, *metric.ci95):
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


@given(st.lists(st.integers(-50, 50), min_size=10, max_size=40), st.integers(1, 12))
@settings(max_examples=30)
def test_resampled_shares_are_those_of_resamples_that_are_built(samples: list[int], block: int) -> None:
    """Blocks from anywhere, round the end: the share above less the share below, of resamples written out."""
    values = np.array(samples, float)
    block = min(block, values.size)
    count = math.ceil(values.size / block)
    starts = np.random.default_rng(0).integers(values.size, size=(50, count))
    built = values[(starts[:, :, None] + np.arange(block)) % values.size].reshape(50, -1)
    middle = np.median(values)
    balance = np.sign(built - middle).mean(axis=1) - np.sign(values - middle).mean()
    wider = math.sqrt(count / (count - 1)) * student_over_normal(count - 1) if count > 1 else 1.0
    shares = resampled_shares(values, np.random.default_rng(0), block=block, resamples=50)
    assert shares == pytest.approx(0.5 + wider * balance / 2)


@pytest.mark.parametrize(("freedom", "ratio"), [(3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_student_s_t_over_the_normal_distribution(freedom: int, ratio: float) -> None:
    """97.5% points of the tables, over 1.95996."""
    assert student_over_normal(freedom) == pytest.approx(ratio / 1.95996, rel=0.01)


def test_medians_found_without_building_resamples_are_like_those_of_built_ones() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    found = resampled_medians(values, np.random.default_rng(2), block=1)
    built = np.median(np.random.default_rng(3).choice(values, (2000, 300)), axis=1)
    for percent in (2.5, 25, 50, 75, 97.5):
        assert np.percentile(found, percent) == pytest.approx(np.percentile(built, percent), abs=0.03)


def _covered(draw: object, truth: float, *, trials: int = 100) -> float:
    assert callable(draw)
    hits = 0
    for trial in range(trials):
        low, high = median_interval(draw(np.random.default_rng(trial)), seed=trial, resamples=300) or (0, 0)
        hits += low <= truth <= high
    return hits / trials


@pytest.mark.parametrize("count", [30, 400])
@pytest.mark.parametrize(
    ("name", "truth"),
    [("standard_normal", 0.0), ("standard_exponential", math.log(2)), ("standard_cauchy", 0.0)],
)
def test_the_interval_covers_the_true_median(name: str, truth: float, count: int) -> None:
    """Nominal 0.95; 100 trials have a standard error of 0.022."""
    assert 0.88 <= _covered(lambda generator: getattr(generator, name)(count), truth) <= 1.0


def _wandering(generator: np.random.Generator, *, phi: float = 0.9, count: int = 1600) -> NDArray[np.float64]:
    """Samples of a process in which neighbours resemble each other: AR(1), median 0, stationary from the first on."""
    series = generator.standard_normal(count)
    series[0] /= math.sqrt(1 - phi**2)
    for i in range(1, count):
        series[i] += phi * series[i - 1]
    return series


def _single_sample_interval(samples: NDArray[np.float64], generator: np.random.Generator) -> tuple[float, float]:
    medians = np.median(generator.choice(samples, (200, samples.size)), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.slow
def test_blocks_are_what_makes_the_interval_honest_for_samples_that_depend_on_each_other() -> None:
    assert _covered(_wandering, 0.0, trials=50) >= 0.85
    generators = [np.random.default_rng(trial) for trial in range(50)]
    narrow = [_single_sample_interval(_wandering(generator), generator) for generator in generators]
    assert np.mean([low <= 0 <= high for low, high in narrow]) <= 0.60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phi", "count", "least"),
    [
        *((0.0, 10, 0.94), (0.5, 10, 0.91), (0.5, 20, 0.91), (0.3, 30, 0.92), (0.0, 100, 0.92)),
        *((0.5, 300, 0.90), (0.5, 1600, 0.91), (0.9, 1600, 0.88), (0.9, 400, 0.84)),
    ],
)
def test_coverage_on_noise_of_every_memory(phi: float, count: int, least: float) -> None:
    """Nominal 0.95, 500 trials; block bootstraps lose a few points where the memory is long beside the series."""
    covered = _covered(lambda generator: _wandering(generator, phi=phi, count=count), 0.0, trials=500)
    assert least <= covered <= (0.98 if count > 10 else 1.0)


# --- the length of a block


def test_independent_samples_need_no_blocks() -> None:
    lengths = [block_length(np.random.default_rng(seed).standard_normal(1000)) for seed in range(50)]
    assert np.median(lengths) == 1


def test_the_block_length_is_the_best_one_of_the_process() -> None:
    """AR(1): with R(k) = s phi^k the sums are g = s (1 + phi) / (1 - phi) and G = 2 s phi / (1 - phi)^2.

    Hence 2 G^2 / (4/3 g^2) = 6 phi^2 / (1 - phi^2)^2, and the best length is the cube root of that times n.
    """
    phi, count = 0.7, 20_000
    best = (6 * phi**2 / (1 - phi**2) ** 2 * count) ** (1 / 3)
    lengths = [block_length(_wandering(np.random.default_rng(seed), phi=phi, count=count)) for seed in range(10)]
    assert np.median(lengths) == pytest.approx(best, rel=0.15)


@pytest.mark.parametrize("series", [[], [1.0], [1.0, 2.0, 3.0], [5.0] * 100])
def test_series_that_say_nothing_have_blocks_of_one(series: list[float]) -> None:
    assert block_length(np.array(series)) == 1


@given(st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=300))
@settings(max_examples=50)
def test_a_block_is_never_longer_than_a_third(series: list[float]) -> None:
    assert 1 <= block_length(np.array(series)) <= math.ceil(min(3 * math.sqrt(len(series)), len(series) / 3))


# --- percentiles


def test_the_interval_of_order_statistics_is_that_of_the_tables() -> None:
    """n = 10, median: samples 2 and 9 with 0.9785 (David and Nagaraja, section 7.1); n = 5 cannot reach 0.95."""
    assert percentile_interval(range(1, 11), 50) == (2.0, 9.0)
    assert percentile_interval(range(1, 6), 50) is None
    assert percentile_interval(range(1, 7), 50) == (1.0, 6.0)
    assert percentile_interval(range(1, 6), 50, level=0.9) == (1.0, 5.0)


def test_the_distribution_of_hits_is_the_binomial_one() -> None:
    expected = np.cumsum([math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(21)])
    assert binomial_cdf(20, 0.3) == pytest.approx(expected)
    assert binomial_cdf(0, 0.3).tolist() == [1.0]
    assert binomial_cdf(1_000_000, 0.5)[500_000] == pytest.approx(0.5004, abs=1e-4)


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_the_interval_of_a_percentile_covers_it(percent: float) -> None:
    """At least 0.95 for samples of any distribution; 400 trials have a standard error of 0.011."""
    truth = -math.log(1 - percent / 100)
    hits = 0
    for seed in range(400):
        found = percentile_interval(np.random.default_rng(seed).standard_exponential(1000), percent)
        assert found is not None
        hits += found[0] <= truth <= found[1]
    assert 0.925 <= hits / 400 <= 0.99


# --- ratios


def test_the_ratio_of_a_series_with_itself_times_a_factor() -> None:
    series = 1000 * np.exp(0.05 * np.random.default_rng(0).standard_normal(60))
    ratio, interval = paired_ratio(series, 1.1 * series)
    assert ratio == pytest.approx(1.1)
    assert interval == pytest.approx((1.1, 1.1))
    assert paired_ratio([2.0, 4.0], [1.0, 2.0]) == (0.5, None)


def test_what_slows_down_a_whole_round_cancels_in_pairs_only() -> None:
    generator = np.random.default_rng(5)
    rounds = 1000 * np.exp(np.cumsum(0.1 * generator.standard_normal(40)))
    old, new = (rounds * np.exp(0.002 * generator.standard_normal(40)) for _ in range(2))
    _, paired = paired_ratio(old, 1.02 * new)
    apart = ratio_interval(old, 1.02 * new)
    assert paired is not None
    assert apart is not None
    assert 1.015 < paired[0] <= 1.02 <= paired[1] < 1.025
    assert apart[1] - apart[0] > 0.2


def test_the_interval_of_a_ratio_covers_it() -> None:
    hits = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        old, new = (np.exp(0.1 * generator.standard_normal(200)) for _ in range(2))
        low, high = ratio_interval(old, 1.05 * new, seed=seed, resamples=300) or (0, 0)
        hits += low <= 1.05 <= high
    assert 0.88 <= hits / 100 <= 1.0


@given(DURATIONS, DURATIONS)
@settings(max_examples=25)
def test_the_ratio_the_other_way_round_is_its_inverse(old: list[int], new: list[int]) -> None:
    count = min(len(old), len(new))
    ratio, interval = paired_ratio(old[:count], new[:count])
    other, inverse = paired_ratio(new[:count], old[:count])
    assert other == pytest.approx(1 / ratio)
    assert interval is not None
    assert inverse is not None
    assert interval[0] <= ratio * (1 + 1e-9)
    assert ratio <= interval[1] * (1 + 1e-9)


@pytest.mark.parametrize(("old", "new"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 1.0]), ([math.nan], [1.0])])
def test_rounds_that_are_no_pairs_are_refused(old: list[float], new: list[float]) -> None:
    with pytest.raises(MeasurementError, match="paired ratio: expected"):
        paired_ratio(old, new)


def test_too_few_samples_have_no_interval_of_a_ratio() -> None:
    assert ratio_interval([1.0] * 9, [1.0] * 50) is None
    assert ratio_interval([0.0] * 50, [1.0] * 50) is None


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
