"""What a load pattern in the style of MLPerf gave: percentile, rate, whether a bound holds, and what it falls short of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgecnn.bench.earlystop import TailEstimate, estimate_tail, holds, queries_needed
from edgecnn.bench.stats import percentile
from edgecnn.units import duration_text

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]

SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "server", "offline")

PERCENT = {"single-stream": 90.0, "multi-stream": 99.0, "server": 99.0}
"""The percentile that each scenario is about (rules, section "Scenarios")."""

STREAMS = 8
"""Samples of a multi-stream query (the same section)."""

OFFLINE_SAMPLES = 24_576
"""Samples of the offline query at least (the same section)."""

RULES_SECONDS = 600.0
"""Duration that the rules ask for (the same section)."""

OFFLINE_TOLERANCE = 0.1
"""Share by which the offline query may last longer or shorter than the seconds that were asked for without a word about it."""

# Share of what can be done that leaves a queue short: at 80% the mean wait is twice a query's own time (M/D/1).
_USED = 0.8

# From here on a rate is a whole number.
_WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioResult:
    """What a scenario gave.

    Attributes:
        scenario: "single-stream", "multi-stream", "server" or "offline".
        title: how the figures are to be called, "MLPerf-style server".
        latencies_ns: of the queries in order of arrival; in "server" from the arrival on, waiting included.
        samples: how many were run.
        seconds: from the first arrival to the end of the last query.
        samples_per_second: samples over seconds.
        p50_ns, p90_ns, p99_ns, p999_ns: percentiles of latency, None with too few queries.
        tail: the scenario's percentile by the early-stopping rule, None for "offline".
        qps: arrivals per second that were asked for, "server" only.
        bound_ns: latency that 99% of the queries must not exceed, "server" only.
        over_bound: queries above the bound, those without an answer included.
        unanswered: queries that still waited when the server was left, "server" only.
        valid: whether the run is valid by the rules of another load generator, which issued the queries; None for ours.
        bound_held: True where 99% of the queries are below the bound, with 99% confidence by the early-stopping rule; False
            where more than 1% were above it; None between the two (too few queries), and without a bound.
        notes: what the figures fall short of, and what to do.
    """

    scenario: Scenario
    title: str
    latencies_ns: tuple[int, ...]
    samples: int
    seconds: float
    samples_per_second: float
    p50_ns: float | None
    p90_ns: float | None
    p99_ns: float | None
    p999_ns: float | None
    tail: TailEstimate | None
    qps: float | None = None
    bound_ns: float | None = None
    over_bound: int | None = None
    bound_held: bool | None = None
    unanswered: int | None = None
    valid: bool | None = None
    notes: tuple[str, ...] = ()


def make_result(
    scenario: str,
    latencies: list[int],
    *,
    samples: int,
    elapsed_ns: int,
    qps: float | None = None,
    bound_ns: float | None = None,
    unanswered: int = 0,
) -> ScenarioResult:
    """Return the figures of queries that were run.

    Args:
        scenario: one of `SCENARIOS`.
        latencies: nanoseconds, of the queries in order of arrival.
        samples: that were run.
        elapsed_ns: from the first arrival to the end of the last query.
        qps: arrivals per second, "server" only.
        bound_ns: latency bound, "server" only.
        unanswered: further queries that arrived and still wait, "server" only: their latency is beyond all others.
    """
    percent = PERCENT.get(scenario)
    arrived = [*latencies, *[math.inf] * unanswered]
    tail = None if percent is None else _finite_tail(estimate_tail(arrived, percent))
    over_bound = None if bound_ns is None else sum(latency > bound_ns for latency in arrived)
    seconds = elapsed_ns / 1e9
    rate = samples / seconds if seconds > 0 else math.inf
    notes = (
        *_duration_notes(scenario, seconds, samples),
        *(() if unanswered else _tail_notes(tail)),
        *_bound_notes(len(arrived), over_bound),
        *(_overload_notes(len(arrived), unanswered, rate) if unanswered else _queue_notes(latencies, qps)),
    )
    several = scenario != "offline"
    return ScenarioResult(
        scenario=next(name for name in SCENARIOS if name == scenario),
        title=f"MLPerf-style {scenario}",
        latencies_ns=tuple(latencies),
        samples=samples,
        seconds=seconds,
        samples_per_second=rate,
        p50_ns=_percentile(latencies, unanswered, 50) if several else None,
        p90_ns=_percentile(latencies, unanswered, 90) if several else None,
        p99_ns=_percentile(latencies, unanswered, 99) if several else None,
        p999_ns=_percentile(latencies, unanswered, 99.9) if several else None,
        tail=tail,
        qps=qps,
        bound_ns=bound_ns,
        over_bound=over_bound,
        bound_held=None if over_bound is None else _held(len(arrived), over_bound),
        unanswered=unanswered if scenario == "server" else None,
        notes=notes,
    )


def judged_by_another(
    result: ScenarioResult, *, valid: bool, unmet: Sequence[str], tail_ns: int | None
) -> ScenarioResult:
    """Return a result with the judgement of the load generator that issued the queries in place of ours.

    Args:
        result: our figures of the latencies that it told.
        valid: the run is valid by its rules.
        unmet: what it asks for and did not get.
        tail_ns: its early-stopping estimate of the percentile; None with too few queries. It makes none for "server", where
            ours of its latencies stays.
    """
    tail = result.tail
    if tail is not None and result.scenario != "server":
        tail = replace(tail, value_ns=None if tail_ns is None else float(tail_ns))
    notes = () if valid else (f"invalid by the load generator's rules: {'; '.join(unmet) or 'no reason given'}",)
    return replace(result, tail=tail, valid=valid, notes=(*result.notes, *notes))


def _duration_notes(scenario: str, seconds: float, samples: int) -> tuple[str, ...]:
    notes = []
    if seconds < RULES_SECONDS:
        notes.append(f"{duration_text(seconds * 1e9)} long, the rules ask for {RULES_SECONDS:g} s")
    if scenario == "offline" and samples < OFFLINE_SAMPLES:
        notes.append(f"{samples} samples, the rules ask for {OFFLINE_SAMPLES}")
    return tuple(notes)


def _finite_tail(tail: TailEstimate) -> TailEstimate:
    return tail if tail.value_ns is None or math.isfinite(tail.value_ns) else replace(tail, value_ns=None)


def _percentile(latencies: list[int], unanswered: int, percent: float) -> float | None:
    """Return a percentile of all that arrived, None where it lies among those without an answer, or with too few."""
    arrived = len(latencies) + unanswered
    if math.ceil(percent / 100 * (arrived - 1)) >= len(latencies):
        return None
    return percentile([*latencies, *[max(latencies)] * unanswered], percent)


def _overload_notes(arrived: int, unanswered: int, rate: float) -> tuple[str, ...]:
    seen = f"overload: {unanswered:,} of {arrived:,} queries still waited when the server was left"
    fewer = f"{_USED * rate:.0f}" if rate >= _WHOLE else f"{_USED * rate:.2g}"
    return (f"{seen}, {rate:,.4g} a second were done: ask for fewer, --qps {fewer}",)


def _tail_notes(tail: TailEstimate | None) -> tuple[str, ...]:
    if tail is None or tail.value_ns is not None:
        return ()
    enough = f"measure until there are {tail.needed}"
    return (f"{tail.queries} queries are too few for a sure {tail.percent:g}th percentile (early stopping): {enough}",)


def _held(queries: int, over: int) -> bool | None:
    """Return whether the server's percentile is below a bound that `over` queries exceeded, None where that is not sure."""
    percent = PERCENT["server"]
    if holds(queries, over, percent):
        return True
    return False if 100 * over > (100 - percent) * queries else None


def _bound_notes(queries: int, over: int | None) -> tuple[str, ...]:
    if over is None or _held(queries, over):
        return ()
    text = f"{over} of {queries} queries above the bound"
    if _held(queries, over) is None:
        needed = queries_needed(over, PERCENT["server"])
        return (f"{text}, no more than may be, but with so many above it takes {needed} queries to be sure",)
    return (f"{text}: ask for fewer queries per second, or a later bound",)


def _queue_notes(latencies: list[int], qps: float | None) -> tuple[str, ...]:
    if qps is None:
        return ()
    # A queue that grows: the last tenth of the queries waits longer than the whole gap between ten of them.
    tenth = max(1, len(latencies) // 10)
    growth = float(np.median(latencies[-tenth:]) - np.median(latencies[:tenth]))
    if len(latencies) >= 2 * tenth and growth > 10e9 / qps:
        return ("queries arrive faster than they are done: the queue grew to the end, ask for fewer per second",)
    return ()
