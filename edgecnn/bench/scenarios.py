"""MLPerf-style scenarios: how queries arrive decides which figure answers the question.

    single-stream   the next query when the last one is done, one sample each      90th percentile of latency
    multi-stream    the next query when the last one is done, 8 samples each       99th percentile of latency
    server          one sample each, arriving at random (Poisson) at a rate        99th percentile against a bound
    offline         all samples at once                                            samples per second

Arrivals, figures and the early-stopping estimate follow the MLPerf Inference Rules, section "Scenarios" (and the paper:
Reddi et al. 2020, ISCA, arXiv:1911.02549). These are MLPerf-style figures and never MLPerf results: those need the rules'
models, data, durations, load generator and review, and the name is a trademark of MLCommons.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.clock import Clock, MonotonicClock
from edgecnn.bench.earlystop import TailEstimate, estimate_tail, holds, queries_needed
from edgecnn.bench.stats import percentile
from edgecnn.errors import BadInput, UnknownName
from edgecnn.units import duration_text

Scenario = Literal["single-stream", "multi-stream", "server", "offline"]
Issue = Callable[[Sequence[int]], object]
"""Runs the samples with these numbers and returns when all are done."""

SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "server", "offline")

PERCENT = {"single-stream": 90.0, "multi-stream": 99.0, "server": 99.0}
"""The percentile that each scenario is about (rules, section "Scenarios")."""

STREAMS = 8
"""Samples of a multi-stream query (the same section)."""

OFFLINE_SAMPLES = 24_576
"""Samples of the offline query at least (the same section)."""

RULES_SECONDS = 600.0
"""Duration that the rules ask for (the same section)."""

MAX_QUERIES = 1 << 20
"""A row of queries ends here at the latest."""

# Sleeping may last this much longer than asked for; the rest is waited for with the clock in view.
_SLEEP_SLACK_NS = 200_000


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
        over: queries above the bound.
        passed: whether the bound holds by the rules; None without a bound.
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
    over: int | None = None
    passed: bool | None = None
    notes: tuple[str, ...] = ()


def run_scenario(
    scenario: str,
    issue: Issue,
    *,
    seconds: float,
    qps: float | None = None,
    bound_ns: float | None = None,
    samples_per_query: int = STREAMS,
    offline_samples: int = OFFLINE_SAMPLES,
    seed: int = 0,
    clock: Clock | None = None,
    wait_until: Callable[[int], None] | None = None,
) -> ScenarioResult:
    """Return what a scenario gives for something that runs samples.

    Queries are issued one at a time: one that arrives while another runs waits, and its waiting counts.

    Args:
        scenario: one of `SCENARIOS`.
        issue: runs samples, given by number from 0 on, and returns when they are done.
        seconds: queries arrive for so long, above 0; "offline" takes as long as it takes.
        qps: arrivals per second, for "server" alone and needed there.
        bound_ns: latency bound, for "server" alone.
        samples_per_query: of "multi-stream".
        offline_samples: of "offline".
        seed: of the arrivals.
        clock: what times, `time.perf_counter_ns` by default.
        wait_until: returns when the clock shows so many nanoseconds; by default it sleeps, then watches the clock.

    Raises:
        UnknownName: no such scenario.
        BadInput: a value outside its limits, or one that the scenario does not take.
    """
    _check(scenario, seconds=seconds, qps=qps, bound_ns=bound_ns, sizes=(samples_per_query, offline_samples))
    clock = clock or MonotonicClock()
    if scenario == "server":
        offsets = poisson_arrivals(float(qps or 0), seconds, seed=seed)
        return _server(issue, offsets, qps, bound_ns, clock, wait_until or _waiter(clock))
    if scenario == "offline":
        return _offline(issue, offline_samples, clock)
    size = samples_per_query if scenario == "multi-stream" else 1
    return _stream(scenario, issue, size, int(seconds * 1e9), clock)


def poisson_arrivals(qps: float, seconds: float, *, seed: int) -> NDArray[np.int64]:
    """Return when queries arrive, int64 [n] nanoseconds after the start, rising; the first one at 0.

    The gaps are exponential with mean 1 / qps (rules: "according to a Poisson distribution").

    Args:
        qps: mean arrivals per second.
        seconds: the last arrival is not later.
        seed: of the gaps.
    """
    generator = np.random.default_rng(seed)
    expected = min(MAX_QUERIES, qps * seconds)
    # Ten standard deviations of a Poisson count more than there will be.
    gaps = generator.exponential(1e9 / qps, size=min(MAX_QUERIES, math.ceil(expected + 10 * math.sqrt(expected) + 10)))
    at = np.concatenate(([0.0], np.cumsum(gaps)))
    return at[at <= seconds * 1e9].astype(np.int64)[:MAX_QUERIES]


def _stream(scenario: str, issue: Issue, size: int, limit_ns: int, clock: Clock) -> ScenarioResult:
    latencies: list[int] = []
    start = end = clock.now_ns()
    for query in count():
        samples = range(query * size, (query + 1) * size)
        begin = clock.now_ns()
        issue(samples)
        end = clock.now_ns()
        latencies.append(end - begin)
        if end - start >= limit_ns or len(latencies) >= MAX_QUERIES:
            break
    return _result(scenario, latencies, samples=size * len(latencies), elapsed_ns=end - start)


def _offline(issue: Issue, samples: int, clock: Clock) -> ScenarioResult:
    begin = clock.now_ns()
    issue(range(samples))
    elapsed = clock.now_ns() - begin
    return _result("offline", [elapsed], samples=samples, elapsed_ns=elapsed)


def _server(
    issue: Issue,
    offsets: NDArray[np.int64],
    qps: float | None,
    bound_ns: float | None,
    clock: Clock,
    wait_until: Callable[[int], None],
) -> ScenarioResult:
    latencies: list[int] = []
    start = end = clock.now_ns()
    for query, offset in enumerate(offsets.tolist()):
        wait_until(start + offset)
        issue((query,))
        end = clock.now_ns()
        latencies.append(end - start - offset)
    return _result("server", latencies, samples=len(latencies), elapsed_ns=end - start, qps=qps, bound_ns=bound_ns)


def _result(
    scenario: str,
    latencies: list[int],
    *,
    samples: int,
    elapsed_ns: int,
    qps: float | None = None,
    bound_ns: float | None = None,
) -> ScenarioResult:
    percent = PERCENT.get(scenario)
    tail = None if percent is None else estimate_tail(latencies, percent)
    over = None if bound_ns is None else sum(latency > bound_ns for latency in latencies)
    seconds = elapsed_ns / 1e9
    rate = samples / seconds if seconds > 0 else math.inf
    passed = None if over is None or percent is None else holds(len(latencies), over, percent)
    notes = (
        *_duration_notes(scenario, seconds, samples),
        *_tail_notes(tail),
        *_server_notes(latencies, qps, over, passed),
    )
    several = scenario != "offline"
    return ScenarioResult(
        scenario=next(name for name in SCENARIOS if name == scenario),
        title=f"MLPerf-style {scenario}",
        latencies_ns=tuple(latencies),
        samples=samples,
        seconds=seconds,
        samples_per_second=rate,
        p50_ns=percentile(latencies, 50) if several else None,
        p90_ns=percentile(latencies, 90) if several else None,
        p99_ns=percentile(latencies, 99) if several else None,
        p999_ns=percentile(latencies, 99.9) if several else None,
        tail=tail,
        qps=qps,
        bound_ns=bound_ns,
        over=over,
        passed=passed,
        notes=notes,
    )


def _duration_notes(scenario: str, seconds: float, samples: int) -> tuple[str, ...]:
    notes = []
    if seconds < RULES_SECONDS:
        notes.append(f"{duration_text(seconds * 1e9)} long, the rules ask for {RULES_SECONDS:g} s")
    if scenario == "offline" and samples < OFFLINE_SAMPLES:
        notes.append(f"{samples} samples, the rules ask for {OFFLINE_SAMPLES}")
    return tuple(notes)


def _tail_notes(tail: TailEstimate | None) -> tuple[str, ...]:
    if tail is None or tail.value_ns is not None:
        return ()
    enough = f"measure until there are {tail.needed}"
    return (f"{tail.queries} queries are too few for a sure {tail.percent:g}th percentile (early stopping): {enough}",)


def _server_notes(latencies: list[int], qps: float | None, over: int | None, passed: bool | None) -> tuple[str, ...]:
    if qps is None:
        return ()
    notes = []
    if passed is False:
        needed = queries_needed(over or 0, PERCENT["server"])
        notes.append(
            f"{over} of {len(latencies)} queries above the bound; it would take {needed} queries to allow so many"
        )
    # A queue that grows: the last tenth of the queries waits longer than the whole gap between ten of them.
    tenth = max(1, len(latencies) // 10)
    growth = float(np.median(latencies[-tenth:]) - np.median(latencies[:tenth]))
    if len(latencies) >= 2 * tenth and growth > 10e9 / qps:
        notes.append("queries arrive faster than they are done: the queue grew to the end, ask for fewer per second")
    return tuple(notes)


def _check(scenario: str, *, seconds: float, qps: float | None, bound_ns: float | None, sizes: tuple[int, int]) -> None:
    if scenario not in SCENARIOS:
        raise UnknownName("scenario", scenario, SCENARIOS)
    if not 0 < seconds < math.inf:
        raise BadInput("seconds", expected="above 0", got=f"{seconds:g}")
    if min(sizes) < 1:
        raise BadInput("samples", expected="at least 1", got=str(min(sizes)))
    if scenario != "server":
        if qps is not None or bound_ns is not None:
            raise BadInput(
                "qps and latency bound", "leave them out, or choose server", expected="none", got=f"scenario {scenario}"
            )
        return
    if qps is None or not 0 < qps < math.inf:
        raise BadInput("qps", "say how many queries arrive per second", expected="above 0", got=str(qps))
    if bound_ns is not None and not 0 < bound_ns < math.inf:
        raise BadInput("latency bound", expected="above 0", got=f"{bound_ns:g}")


def _waiter(clock: Clock) -> Callable[[int], None]:
    def wait_until(when_ns: int) -> None:
        ahead = when_ns - clock.now_ns()
        if ahead > 2 * _SLEEP_SLACK_NS:
            time.sleep((ahead - _SLEEP_SLACK_NS) / 1e9)
        while clock.now_ns() < when_ns:
            pass

    return wait_until
