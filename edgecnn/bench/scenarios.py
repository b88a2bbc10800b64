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
from itertools import count

import numpy as np
from numpy.typing import NDArray

from edgecnn.bench.clock import Clock, MonotonicClock
from edgecnn.bench.scenarioresult import OFFLINE_SAMPLES, SCENARIOS, STREAMS, ScenarioResult, make_result
from edgecnn.errors import BadInput, UnknownName

Issue = Callable[[Sequence[int]], object]
"""Runs the samples with these numbers and returns when all are done."""

MAX_QUERIES = 1 << 20
"""A row of queries ends here at the latest."""

PATIENCE = 2.0
"""A server is left after so many times the time in which queries arrive; what still waits then stays without an answer."""

# Sleeping may last this much longer than asked for; the rest is waited for with the clock in view.
_SLEEP_SLACK_NS = 200_000


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
        seconds: queries arrive for so long, above 0, and are answered for `PATIENCE` times as long at most; "offline" takes
            as long as it takes.
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
        limit_ns = int(PATIENCE * seconds * 1e9)
        latencies, elapsed_ns = _server(issue, offsets, limit_ns, clock, wait_until or _waiter(clock))
        return make_result(
            "server",
            latencies,
            samples=len(latencies),
            elapsed_ns=elapsed_ns,
            qps=qps,
            bound_ns=bound_ns,
            unanswered=len(offsets) - len(latencies),
        )
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
    return make_result(scenario, latencies, samples=size * len(latencies), elapsed_ns=end - start)


def _offline(issue: Issue, samples: int, clock: Clock) -> ScenarioResult:
    begin = clock.now_ns()
    issue(range(samples))
    elapsed = clock.now_ns() - begin
    return make_result("offline", [elapsed], samples=samples, elapsed_ns=elapsed)


def _server(
    issue: Issue,
    offsets: NDArray[np.int64],
    limit_ns: int,
    clock: Clock,
    wait_until: Callable[[int], None],
) -> tuple[list[int], int]:
    """Return the latencies of the queries that were answered within the limit, at least of one, and how long it took."""
    latencies: list[int] = []
    start = end = clock.now_ns()
    for query, offset in enumerate(offsets.tolist()):
        wait_until(start + offset)
        issue((query,))
        end = clock.now_ns()
        latencies.append(end - start - offset)
        if end - start >= limit_ns:
            break
    return latencies, end - start


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
