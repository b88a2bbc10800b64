"""Tail latencies that hold with 99% confidence, by the early-stopping rule of the MLPerf inference rules.

Of n queries, t may have exceeded a latency and the percentile still be below it with confidence c, where so few would be
too lucky otherwise: P(at most t of n | each exceeds it with probability 1 - p) < 1 - c. (MLPerf Inference Rules,
"Early Stopping Criterion", with c = 0.99 and tolerance 0, as in loadgen's early_stopping.cc and results.cc.) With few
queries the estimate lies at a higher sample than the plain percentile would; that is the price of being sure.

The queries are taken as independent, as in the rules; neighbours that resemble each other make it less sure than it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edgecnn.bench.stats import binomial_cdf

CONFIDENCE = 0.99
"""Confidence of the rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TailEstimate:
    """The early-stopping estimate of a percentile.

    Attributes:
        percent: the percentile, 90 or 99 for example.
        value_ns: latency that it does not exceed, with 99% confidence; None with too few queries.
        discarded: how many of the slowest queries lie above it.
        queries: how many there were.
        needed: how many there must be at least.
    """

    percent: float
    value_ns: float | None
    discarded: int
    queries: int
    needed: int


def estimate_tail(latencies_ns: ArrayLike, percent: float, *, confidence: float = CONFIDENCE) -> TailEstimate:
    """Return the early-stopping estimate of a percentile.

    Args:
        latencies_ns: of the queries, any order.
        percent: above 0 and below 100.
        confidence: above 0 and below 1.
    """
    ordered = np.sort(np.asarray(latencies_ns, np.float64).reshape(-1))
    allowed = allowed_overlatency(ordered.size, percent, confidence=confidence)
    return TailEstimate(
        percent=percent,
        # The rules take the first of those that may exceed it.
        value_ns=float(ordered[ordered.size - allowed]) if allowed else None,
        discarded=max(0, allowed - 1),
        queries=int(ordered.size),
        needed=queries_needed(1, percent, confidence=confidence),
    )


def allowed_overlatency(queries: int, percent: float, *, confidence: float = CONFIDENCE) -> int:
    """Return how many of so many queries may exceed the latency, 0 where not even one may."""
    return max(0, _lucky(queries, percent, confidence) - 1)


def holds(queries: int, over: int, percent: float, *, confidence: float = CONFIDENCE) -> bool:
    """Tell whether the percentile is below a latency that `over` of so many queries exceeded."""
    return over < _lucky(queries, percent, confidence)


def queries_needed(over: int, percent: float, *, confidence: float = CONFIDENCE) -> int:
    """Return the least number of queries of which `over` may exceed the latency: 64 for one and the 90th, 662 for the 99th."""
    low, high = over, max(2, 2 * over)
    while not holds(high, over, percent, confidence=confidence):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle, over, percent, confidence=confidence):
            high = middle
        else:
            low = middle
    return high


def _lucky(queries: int, percent: float, confidence: float) -> int:
    """Return for how many counts, from 0 on, so few queries over the latency would be too lucky to be chance."""
    at_most = binomial_cdf(queries, 1 - percent / 100)
    return int(np.searchsorted(at_most, 1 - confidence, side="left"))
