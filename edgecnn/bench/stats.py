"""Statistics of samples: numpy only, seeded, and None where there are too few samples for an honest figure.

Latencies are skewed to the right and neighbours resemble each other (frequency, temperature and other processes
change slowly). Hence the median, and a bootstrap that draws contiguous blocks instead of single samples: an interval
from single samples would be far too narrow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecnn.errors import MeasurementError
from edgecnn.results import Metric

Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Resamples of the bootstrap; each 2.5% tail holds 50 of them (Efron and Tibshirani 1993 ask for 1000 or more)."""

BLOCKS = 40
"""Contiguous blocks that are drawn: long enough to hold what neighbours share, many enough to draw from."""

MIN_SAMPLES = 10
"""Below this an interval of the median and a 90th percentile say nothing."""


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
        max=float(values.max()),
        mean=float(values.mean()),
        ci95=median_interval(values, seed=seed),
    )


def percentile(samples: ArrayLike, percent: float) -> float | None:
    """Return a percentile (linear between neighbours), None with fewer than 100 / (100 - percent) samples.

    With fewer, not one sample is expected above it: 10 for the 90th, 100 for the 99th.
    """
    values = np.asarray(samples, np.float64)
    needed = math.ceil(100 / (100 - percent) - 1e-9)
    return float(np.percentile(values, percent)) if values.size >= needed else None


def median_interval(
    samples: ArrayLike, *, seed: int = 0, level: float = 0.95, blocks: int = BLOCKS, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the median over contiguous blocks; None below `MIN_SAMPLES` samples.

    The medians of the resamples are exact. (Non-overlapping block bootstrap: Carlstein 1986, Annals of Statistics 14.)

    Args:
        samples: float [n] in order of measurement.
        seed: of the draws; the same seed gives the same interval.
        level: share of the resampled medians inside the interval.
        blocks: number of blocks; with fewer samples than that, every sample is a block.
        resamples: number of resamples.
    """
    values = np.asarray(samples, np.float64).reshape(-1)
    if values.size < MIN_SAMPLES:
        return None
    blocks = min(blocks, values.size)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    medians = _resampled_medians(values, drawn)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)


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


def _resampled_medians(values: Floats, drawn: NDArray[np.int64]) -> Floats:
    """Return float64 [resamples]: the median when block b counts drawn[r, b] times, without building any resample."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(values.size, np.int64)
    ranks[order] = np.arange(values.size)
    block_ranks = [np.sort(part) for part in np.array_split(ranks, drawn.shape[1])]
    totals = drawn @ np.array([part.size for part in block_ranks])
    lower = _rank_at(block_ranks, drawn, (totals - 1) // 2, np.zeros_like(totals))
    upper = _rank_at(block_ranks, drawn, totals // 2, lower)
    ordered = values[order]
    # Half of each first: the sum of two huge values would overflow.
    return ordered[lower] / 2 + ordered[upper] / 2


def _rank_at(
    block_ranks: list[NDArray[np.int64]], drawn: NDArray[np.int64], position: NDArray[np.int64], low: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return per resample the rank of the value at a 0-based position of its sorted values, by bisection from `low`."""
    high = np.full_like(low, sum(part.size for part in block_ranks) - 1)
    while (low < high).any():
        middle = (low + high) // 2
        counts = np.stack([np.searchsorted(part, middle, side="right") for part in block_ranks], axis=1)
        enough = (drawn * counts).sum(axis=1) > position
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle + 1)
    return low
