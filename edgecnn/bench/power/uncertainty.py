"""How sure a mean power is: a budget after the GUM (JCGM 100:2008), one line per source.

    windows     s / sqrt(k) of k parts of the window                              type A, 4.2.3
    resolution  sampler: step / sqrt(12); counter: step / (sqrt(6) * window), since both ends are rounded      4.3.7
    period      P * period / (sqrt(6) * window): the last update lies anywhere within a period before either end;
                for a sampler P is the change of power at the ends, for a counter the whole power
    jitter      the same with the length of a reading in place of the period
    sensor      P * accuracy / sqrt(3): anywhere within the stated half-width                                 4.3.7
    idle drift  |after - before| / sqrt(12): idle at the time of the window lies anywhere between the two; net power alone
    idle scatter  s / sqrt(k) of the parts of both idle phases; net power alone                               type A

They are independent and add as squares (5.1.2); the stated interval is two standard uncertainties wide on either side (6.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecnn.devices.sensors.base import MeterSpec
from edgecnn.powerspec import Uncertainty

COVERAGE_FACTOR = 2.0
"""About 95% of a normal distribution (GUM, G.6.6)."""


def budget(
    spec: MeterSpec,
    *,
    parts_w: Sequence[float],
    idle_before_parts_w: Sequence[float],
    idle_after_parts_w: Sequence[float],
    power_w: float,
    window_s: float,
    reading_s: float,
) -> Uncertainty:
    """Return the standard uncertainties of a mean power.

    Args:
        spec: of the meter.
        parts_w: mean power of each part of the window.
        idle_before_parts_w: mean power of parts of equal length of the idle phase before; at least one.
        idle_after_parts_w: of the one after.
        power_w: of the whole window.
        window_s: its length.
        reading_s: how long a reading takes.
    """
    idle_before_w, idle_after_w = float(np.mean(idle_before_parts_w)), float(np.mean(idle_after_parts_w))
    edge_w = power_w if spec.kind == "counter" else max(abs(power_w - idle_before_w), abs(power_w - idle_after_w))
    both_ends = math.sqrt(6) * window_s
    return Uncertainty(
        windows_w=_type_a_w([parts_w]),
        resolution_w=_resolution_w(spec, window_s),
        period_w=edge_w * spec.update_period_s / both_ends,
        jitter_w=edge_w * reading_s / both_ends,
        sensor_w=None if spec.accuracy is None else power_w * spec.accuracy / math.sqrt(3),
        idle_drift_w=abs(idle_after_w - idle_before_w) / math.sqrt(12),
        idle_scatter_w=_type_a_w([idle_before_parts_w, idle_after_parts_w]),
    )


def expanded_w(parts: Uncertainty, *, net: bool, idle_w: float = 0.0, power_w: float = 0.0) -> float:
    """Return the half-width of the 95% interval of gross or net power; sources that cannot be told count nothing.

    The sensor's error of gain is common to gross and idle power, so that net power has its own share of it alone.

    Args:
        parts: the budget of gross power.
        net: whether it is for net power.
        idle_w: idle power.
        power_w: gross power.
    """
    sensor_w = parts.sensor_w
    if net and sensor_w is not None and power_w > 0:
        sensor_w *= max(0.0, power_w - idle_w) / power_w
    sources = [parts.windows_w, parts.resolution_w, parts.period_w, parts.jitter_w, sensor_w]
    sources += [parts.idle_drift_w, parts.idle_scatter_w] if net else []
    return COVERAGE_FACTOR * math.sqrt(sum(value * value for value in sources if value is not None))


def pooled_sd(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation within groups, each about its own mean; None without a group of two values."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    return math.sqrt(squares / freedom) if freedom > 0 else None


def _type_a_w(groups: Sequence[Sequence[float]]) -> float | None:
    spread = pooled_sd(groups)
    return None if spread is None else spread / math.sqrt(sum(map(len, groups)))


def _resolution_w(spec: MeterSpec, window_s: float) -> float | None:
    if spec.resolution is None:
        return None
    return spec.resolution / (math.sqrt(6) * window_s if spec.kind == "counter" else math.sqrt(12))
