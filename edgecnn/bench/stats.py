"""Statistics of samples: numpy only, seeded, and None where there are too few samples for an honest figure.

Latencies are skewed to the right and neighbours resemble each other (frequency, temperature and other processes
change slowly). Hence the median, and a bootstrap that draws blocks of neighbours instead of single samples: an interval
from single samples would be far too narrow. How long the blocks must be is read off the samples
(`edgecnn.bench.blocks`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecnn.bench.blocks import block_length
from edgecnn.errors import MeasurementError
from edgecnn.results import Metric

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Resamples of the bootstrap; each 2.5% tail holds 50 of them (Efron and Tibshirani 1993 ask for 1000 or more)."""

MAX_BLOCKS = 1000
"""Blocks of one resample at most: longer blocks than needed cost nothing as long as there are many to draw from."""

MIN_SAMPLES = 10
"""Below this an interval of the median says nothing."""

_NORMAL_POINT = 1.959964
# 97.5% of the standard normal.

SURE = 0.95
"""Probability with which the greatest sample must lie above a percentile for the percentile to be told."""


def summarise(name: str, unit: str, samples: ArrayLike, *, seed: int = 0) -> Metric:
    """Return the metric of samples in order of measurement.

    Args:
        name: of the metric.
        unit: of the samples.
        samples: float [n], n at least 1.
        seed: of the bootstrap.

    Raises:
        MeasurementError: no sample, or one that is not finite.
    """
    values = np.asarray(samples, np.float64).reshape(-1)
    if not values.size or not np.isfinite(values).all():
        raise MeasurementError(f"{name}: expected finite samples, got {values.size}, {_not_finite(values)} not finite")
    return Metric(
        name=name,
        unit=unit,
        samples=tuple(values.tolist()),
        n=int(values.size),
        min=float(values.min()),
        median=float(np.median(values)),
        p90=percentile(values, 90),
        p99=percentile(values, 99),
        p999=percentile(values, 99.9),
        max=float(values.max()),
        mean=float(values.mean()),
        ci95=median_interval(values, seed=seed),
    )


def needed_samples(percent: float, *, sure: float = SURE) -> int:
    """Return how many samples put the greatest of them above a percentile with probability `sure`.

    1 - (percent/100)^n >= sure: 5 for the median, 29 for the 90th, 299 for the 99th, 2995 for the 99.9th. With fewer no
    order statistic bounds the percentile from above. (Wilks 1942, Annals of Mathematical Statistics 13, 400.)
    """
    return math.ceil(math.log(1 - sure) / math.log(percent / 100) - 1e-9)


def percentile(samples: ArrayLike, percent: float) -> float | None:
    """Return a percentile (linear between neighbours), None with fewer than `needed_samples` samples."""
    values = np.asarray(samples, np.float64)
    return float(np.percentile(values, percent)) if values.size >= needed_samples(percent) else None


def percentile_interval(samples: ArrayLike, percent: float, *, level: float = 0.95) -> tuple[float, float] | None:
    """Return two samples between which a percentile lies with at least this probability; None where none lies above.

    How many of n independent samples lie below the percentile is binomial, whatever they are distributed like: the
    interval of order statistics (David and Nagaraja 2003, Order Statistics, 3rd edition, section 7.1). Samples that
    resemble their neighbours count for fewer than there are; for the median `median_interval` takes that into account.

    Args:
        samples: float [n].
        percent: above 0 and below 100.
        level: least probability; half of the rest lies on either side.
    """
    values = np.sort(np.asarray(samples, np.float64).reshape(-1))
    below = binomial_cdf(values.size, percent / 100)
    tail = (1 - level) / 2
    # The l-th sample (from 1) is above the percentile if fewer than l lie below it; P(at most l - 1) must not exceed tail.
    lower = int(np.searchsorted(below, tail, side="right"))
    # The u-th sample is at or below it if at least u lie below it; 1 - P(at most u - 1) must not exceed tail.
    upper = int(np.searchsorted(below, 1 - tail - 1e-12)) + 1
    if lower < 1 or upper > values.size:
        return None
    return float(values[lower - 1]), float(values[upper - 1])


def binomial_cdf(n: int, share: float) -> Floats:
    """Return float64 [n + 1]: the probability of at most 0, 1, ... n hits in n trials that each hit with this share."""
    if n == 0:
        return np.ones(1)
    hits = np.arange(1, n + 1)
    steps = np.log((n - hits + 1) / hits) + math.log(share / (1 - share))
    logs = n * math.log1p(-share) + np.concatenate(([0.0], np.cumsum(steps)))
    return np.asarray(np.minimum(np.cumsum(np.exp(logs)), 1.0))


def median_interval(
    samples: ArrayLike, *, seed: int = 0, level: float = 0.95, block: int | None = None, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the interval of the median by a circular block bootstrap; None below `MIN_SAMPLES` samples.

    Args:
        samples: float [n] in order of measurement.
        seed: of the draws; the same seed gives the same interval.
        level: share of the resampled medians inside the interval.
        block: samples in a block, by default as many as the samples ask for.
        resamples: number of resamples.
    """
    values = np.asarray(samples, np.float64).reshape(-1)
    if values.size < MIN_SAMPLES:
        return None
    shares = resampled_shares(values, np.random.default_rng(seed), block=block, resamples=resamples)
    tail = (1 - level) / 2
    low, high = (float(share) for share in np.quantile(shares, [tail, 1 - tail]))
    ordered, last = np.sort(values), values.size - 1
    return float(ordered[max(0, math.floor(low * last))]), float(ordered[min(last, math.ceil(high * last))])


def resampled_medians(
    samples: ArrayLike, generator: np.random.Generator, *, block: int | None = None, resamples: int = RESAMPLES
) -> Floats:
    """Return float64 [resamples], medians as they could as well have come out.

    Args:
        samples: float [n] in order of measurement, n at least `MIN_SAMPLES`.
        generator: of the draws.
        block: samples in a block, by default as many as the samples ask for.
        resamples: number of resamples.
    """
    values = np.asarray(samples, np.float64).reshape(-1)
    shares = resampled_shares(values, generator, block=block, resamples=resamples)
    return np.asarray(np.quantile(values, np.clip(shares, 0, 1)))


def resampled_shares(values: Floats, generator: np.random.Generator, *, block: int | None, resamples: int) -> Floats:
    """Return float64 [resamples]: at which share of the sorted samples the median of each resample lies, about 0.5.

    A resample strings together blocks that begin anywhere and run on from the last sample to the first (circular block
    bootstrap: Politis and Romano 1992, in LePage and Billard, Exploring the Limits of Bootstrap). Its median is found
    without building it: where a share p of the resample lies below the median, the sample at 1 - p takes the middle
    (Woodruff 1952, Journal of the American Statistical Association 47, 635).

    Of few samples nobody can tell that neighbours resemble each other: a block has the cube root of their number at least, the
    order of length that is best for dependent samples (Hall, Horowitz and Jing 1995, Biometrika 82, 561), and the shares are
    spread as Student's t of so many blocks is against the normal distribution.
    """
    above = np.sign(values - np.median(values))
    if not above.any():
        return np.full(resamples, 0.5)
    centred = above - above.mean()
    wanted = block or max(block_length(centred), math.ceil(values.size ** (1 / 3) - 1e-9))
    length = min(max(wanted, math.ceil(values.size / MAX_BLOCKS)), values.size)
    sums = _circular_sums(centred, length)
    count = math.ceil(values.size / length)
    starts = generator.integers(values.size, size=(resamples, count))
    # With few blocks the sums vary less than the truth does, by the degree of freedom that their mean took.
    wider = math.sqrt(count / (count - 1)) * student_over_normal(count - 1) if count > 1 else 1.0
    shares: Floats = 0.5 + wider * sums[starts].sum(axis=1) / (2 * length * count)
    return shares


def student_over_normal(freedom: int) -> float:
    """Return the 97.5% point of Student's t over that of the normal distribution.

    By Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5): within 1% from 3 degrees of freedom on, and too small below.
    """
    z = _NORMAL_POINT
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    beyond: float = sum(term / freedom**power for power, term in enumerate(terms, start=1))
    return 1 + beyond / z


def ratio_interval(
    old: ArrayLike, new: ArrayLike, *, seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the interval of median(new) / median(old) of two series that share nothing; None with too few samples.

    Args:
        old: float [n], above 0, in order of measurement.
        new: float [m], above 0, in order of measurement.
        seed: of the draws.
        level: share of the resampled ratios inside the interval.
        resamples: number of resamples.
    """
    first, second = (np.asarray(series, np.float64).reshape(-1) for series in (old, new))
    if min(first.size, second.size) < MIN_SAMPLES or min(first.min(), second.min()) <= 0:
        return None
    generator = np.random.default_rng(seed)
    below, above = (resampled_medians(series, generator, resamples=resamples) for series in (first, second))
    tail = (1 - level) / 2
    low, high = np.quantile(above / below, [tail, 1 - tail])
    return float(low), float(high)


def paired_ratio(
    old: ArrayLike, new: ArrayLike, *, seed: int = 0, level: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """Return the ratio new / old of two series that were measured in turn, with its interval.

    The median over the rounds of log(new / old), so that what slows down a whole round cancels; the interval is the
    block bootstrap's over rounds, None with fewer than `MIN_SAMPLES` rounds.

    Args:
        old: float [rounds], above 0: one figure a round, the median of its samples for example.
        new: float [rounds], above 0, of the same rounds.
        seed: of the draws.
        level: of the interval.

    Raises:
        MeasurementError: no rounds, unequally many, or a figure that is not above 0.
    """
    first, second = (np.asarray(series, np.float64).reshape(-1) for series in (old, new))
    if first.size != second.size or not first.size:
        raise MeasurementError(f"paired ratio: expected equally many rounds, got {first.size} and {second.size}")
    if not (np.isfinite(first) & np.isfinite(second) & (first > 0) & (second > 0)).all():
        raise MeasurementError("paired ratio: expected finite figures above 0 in every round")
    logs = np.log(second) - np.log(first)
    found = median_interval(logs, seed=seed, level=level)
    return math.exp(float(np.median(logs))), None if found is None else (math.exp(found[0]), math.exp(found[1]))


def block_medians(samples: ArrayLike, blocks: int) -> Floats:
    """Return the median of each of `blocks` contiguous blocks of nearly equal length, float64 [min(blocks, n)]."""
    values = np.asarray(samples, np.float64).reshape(-1)
    parts = np.array_split(values, min(blocks, values.size))
    return np.array([np.median(part) for part in parts])


def trend_z(values: ArrayLike) -> float:
    """Return the standard normal score of the Mann-Kendall test: positive if the values rise, 0 with fewer than 4.

    Variance with the correction for ties (Kendall 1975, Rank Correlation Methods, 4th edition).
    """
    series = np.asarray(values, np.float64)
    n = series.size
    if n < 4:
        return 0.0
    score = float(np.sign(series[None, :] - series[:, None])[np.triu_indices(n, 1)].sum())
    ties = np.unique(series, return_counts=True)[1].astype(np.float64)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    return (score - math.copysign(1, score)) / math.sqrt(variance) if score and variance > 0 else 0.0


def _not_finite(values: Floats) -> int:
    return int(values.size - np.isfinite(values).sum())


def _circular_sums(values: Floats, length: int) -> Floats:
    """Return float64 [n]: the sum of `length` values from each place on, continued from the first after the last."""
    around = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[:length])))))
    sums: Floats = around[length : length + values.size] - around[: values.size]
    return sums
