"""What the row of times itself says: too short, too few, too coarse, not steady, noisy."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.machine import fewer_threads, load
from edgecnn.bench.doubts.throttling import throttled
from edgecnn.bench.plan import seconds_for_runs
from edgecnn.bench.stats import MIN_SAMPLES
from edgecnn.results import Reason
from edgecnn.units import duration_text

CLOCK_SUSPECT_STEPS = 100
"""With fewer clock steps in a median one step is more than 1% of it."""

CLOCK_INVALID_STEPS = 10
"""With fewer clock steps in a median one step is more than 10% of it."""

DRIFT_SUSPECT = 0.05
"""Last third against first: beyond what block medians of a quiet machine differ by (2%), with a margin."""

DRIFT_INVALID = 0.25
"""Last third against first: the median then describes neither the beginning nor the end."""

TREND_Z = 2.576
"""Two-sided 1% point of the standard normal: chance alone shows such a trend once in a hundred measurements."""

INTERVAL_SUSPECT = 0.05
"""Width of the median's interval over the median: differences of a few percent cannot be seen through it."""

INTERVAL_INVALID = 0.25
"""Width of the median's interval over the median: not even the first digit is sure."""

TAIL_SUSPECT = 1.5
"""90th percentile over median: every tenth run takes half as long again, which a quiet machine does not show."""

SHORTEST_SECONDS = 0.2
"""Sampling shorter than this sees one state of clock, caches and neighbours, however many runs fit in."""

_LONG_SECONDS = 10.0


def too_short(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if sampling was planned shorter than a machine's state lasts."""
    seconds = evidence.plan.min_seconds
    if seconds < SHORTEST_SECONDS:
        yield Reason(
            code="too_short",
            severity="suspect",
            message=f"sampling was planned for {duration_text(seconds * 1e9)} only",
            advice="measure longer: --seconds 2",
        )


def too_few_samples(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if sampling ended before the planned number of runs."""
    plan, latency = evidence.plan, evidence.latency
    # The offline scenario has one query; how many samples are in it is said by its figures.
    if latency.n >= max(plan.min_runs, MIN_SAMPLES) or plan.scenario == "offline":
        return
    limit = plan.max_seconds if plan.scenario is None else plan.min_seconds
    # Runs that other programs held up count: the median alone would promise too much.
    seconds = seconds_for_runs(plan, max(latency.median, limit * 1e9 / latency.n))
    if latency.n >= plan.min_runs:
        advice = f"plan at least {MIN_SAMPLES} runs"
    elif plan.sustain_seconds is not None:
        advice = f"measure longer: --sustain {seconds}s"
    else:
        advice = f"measure longer: --seconds {seconds}"
    yield Reason(
        code="too_few_samples",
        severity="invalid" if latency.n < MIN_SAMPLES else "suspect",
        message=f"{latency.n} samples of {duration_text(latency.median)} within {limit:g} s, "
        f"planned {max(plan.min_runs, MIN_SAMPLES)}",
        advice=advice,
    )


def clock_too_coarse(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the median is only a few steps of the clock."""
    step, median = evidence.plan.clock_resolution_ns, evidence.latency.median
    if step is None or median >= CLOCK_SUSPECT_STEPS * step:
        return
    yield Reason(
        code="clock_too_coarse",
        severity="invalid" if median < CLOCK_INVALID_STEPS * step else "suspect",
        message=f"the median of {duration_text(median)} is {median / step:.3g} steps of the clock, {step} ns each",
        advice=f"put more into a run: --batch {_batch_for_clock(evidence)}",
    )


def not_steady(evidence: Evidence) -> Iterator[Reason]:
    """Yield a reason if the runs got slower or faster while they were measured."""
    if evidence.latency.n < MIN_SAMPLES or abs(evidence.trend) < TREND_Z or abs(evidence.drift) < DRIFT_SUSPECT:
        return
    word = "slower" if evidence.drift > 0 else "faster"
    queue = evidence.plan.scenario == "server" and evidence.drift > 0
    yield Reason(
        code="not_steady",
        severity="invalid" if abs(evidence.drift) >= DRIFT_INVALID else "suspect",
        message=f"the last third of the runs was {abs(evidence.drift):.1%} {word} than the first "
        f"(trend of block medians z = {evidence.trend:+.1f})"
        + (f"; the warm-up had ended {evidence.unsettled}" if evidence.unsettled.startswith("not steady") else ""),
        advice="ask for fewer queries per second: the queue grows" if queue else _quieter(evidence),
    )


def noisy(evidence: Evidence) -> Iterator[Reason]:
    """Yield reasons if the median is uncertain or a tenth of the runs is far above it."""
    latency = evidence.latency
    if evidence.plan.scenario == "server":
        return  # queries that wait for each other are what it measures
    if latency.ci95 is not None and latency.median > 0:
        low, high = latency.ci95
        width = (high - low) / latency.median
        if width >= INTERVAL_SUSPECT:
            yield Reason(
                code="noisy",
                severity="invalid" if width >= INTERVAL_INVALID else "suspect",
                message=f"the median is only known to lie between {duration_text(low)} and {duration_text(high)} "
                f"({width:.1%} of it)",
                advice=_quieter(evidence),
            )
    if latency.p90 is not None and latency.p90 >= TAIL_SUSPECT * latency.median:
        yield Reason(
            code="noisy",
            severity="suspect",
            message=f"every tenth run took {latency.p90 / latency.median:.2f} times the median or more",
            advice=_quieter(evidence),
        )


def _quieter(evidence: Evidence) -> str:
    """Return what to try next against unsteady times; what the evidence already blames, or the plan did, comes off."""
    if next(load(evidence), None) or next(throttled(evidence), None):
        return "see to the load or throttling above first"
    excess = fewer_threads(evidence)
    if excess:
        return excess
    if evidence.plan.min_seconds < _LONG_SECONDS:
        return f"measure longer, which also warms up longer: --seconds {_LONG_SECONDS:g}"
    if evidence.device.governor not in (None, "performance"):
        return f"fix the frequency: the governor is {evidence.device.governor}, set it to performance"
    return "let the machine settle: no other work, no display, steady cooling"


def _batch_for_clock(evidence: Evidence) -> int:
    step, plan = evidence.plan.clock_resolution_ns or 1, evidence.plan
    return plan.batch * max(2, math.ceil(CLOCK_SUSPECT_STEPS * step / max(evidence.latency.median, 1)))
