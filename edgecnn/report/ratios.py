"""Ratios of latency and energy with their intervals, of one record a side or of several repeated ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.stats import MIN_SAMPLES, paired_ratio, resampled_medians
from edgecnn.report.rows import Interval
from edgecnn.results import Metric, Record

Floats = NDArray[np.float64]

RESAMPLES = 2000

PAIR_WIDER = 3.0
"""Two records a side draw an interval of 1.4 standard errors of the ratio, in place of the 4.3 of Student's t with two degrees
of freedom; from three on, the median makes up for it."""


def measured_in_turn(old: Sequence[Record], new: Sequence[Record]) -> bool:
    """Tell whether both sides are one record of the same group, with enough common rounds for an interval."""
    if len(old) != 1 or len(new) != 1:
        return False
    group = old[0].provenance.group
    first, second = old[0].metric("latency"), new[0].metric("latency")
    if group is None or group != new[0].provenance.group or first is None or second is None:
        return False
    return min(len(first.blocks), len(second.blocks)) >= MIN_SAMPLES


def paired_latency(old: Metric, new: Metric, *, seed: int = 0) -> tuple[float, Interval | None]:
    """Return the ratio of two latencies that were measured in turn, by the medians of their rounds.

    One that had enough runs earlier has fewer rounds; those that both have are compared.
    """
    common = min(len(old.blocks), len(new.blocks))
    return paired_ratio(_round_medians(old)[:common], _round_medians(new)[:common], seed=seed)


def latency_ratio(old: Sequence[Metric], new: Sequence[Metric], *, seed: int = 0) -> tuple[float, Interval | None]:
    """Return the ratio of latencies that share nothing, with its interval; None with too few samples.

    Several records a side are repetitions: their medians differ by more than samples within one of them do, so the
    bootstrap draws records first and samples within them second (Kalibera and Jones 2013, "Rigorous Benchmarking in
    Reasonable Time", ISMM).
    """
    ratio = float(np.median([one.median for one in new]) / np.median([one.median for one in old]))
    if min(one.n if one.samples else 0 for one in (*old, *new)) < MIN_SAMPLES:
        return ratio, None
    generator = np.random.default_rng(seed)
    below, above = _medians(old, generator), _medians(new, generator)
    if below.min() <= 0:
        return ratio, None
    low, high = np.quantile(above / below, [0.025, 0.975])
    return ratio, (float(low), float(high))


def uncertain_ratio(old: tuple[float, float | None], new: tuple[float, float | None]) -> tuple[float, Interval | None]:
    """Return the ratio of two values with 95% uncertainties, and its interval by propagation of relative errors.

    (JCGM 100:2008, Guide to the expression of uncertainty in measurement, 5.1.6.)

    Args:
        old: value above 0 and half the width of its 95% interval, None where unknown.
        new: the same.
    """
    ratio = new[0] / old[0]
    if old[1] is None or new[1] is None:
        return ratio, None
    relative = math.hypot(old[1] / old[0], new[1] / new[0])
    return ratio, (ratio * math.exp(-relative), ratio * math.exp(relative))


def _medians(metrics: Sequence[Metric], generator: np.random.Generator) -> Floats:
    """Return float64 [RESAMPLES]: medians over records, drawn in two stages."""
    within = np.stack([resampled_medians(metric.samples, generator, resamples=RESAMPLES) for metric in metrics])
    if len(metrics) == 1:
        return np.asarray(within[0])
    chosen = generator.integers(len(metrics), size=(len(metrics), RESAMPLES))
    found = np.median(within[chosen, np.arange(RESAMPLES)], axis=0)
    if len(metrics) == 2:
        middle = np.median(found)
        found = np.maximum(middle + PAIR_WIDER * (found - middle), np.finfo(np.float64).tiny)
    return np.asarray(found)


def _round_medians(metric: Metric) -> Floats:
    bounds = [0, *accumulate(metric.blocks)]
    return np.array([np.median(metric.samples[begin:end]) for begin, end in pairwise(bounds)])
