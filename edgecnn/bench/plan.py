"""How a measurement is planned: the defaults, their limits, and the times that follow from them.

A run is one call of the session with a whole batch. A measurement is: load, first run, warm-up until runs are steady, then
sampling until both `min_runs` and `min_seconds` are reached, or `max_seconds` at the latest.
"""

from __future__ import annotations

import math

from edgecnn.bench.generators import MLCOMMONS, OWN, check_load, generator_version
from edgecnn.bench.scenarioresult import SCENARIOS
from edgecnn.errors import BadInput, Contradiction
from edgecnn.results import Plan

SECONDS = 2.0
"""Sampling time of a measurement when nothing else is asked for."""

MIN_RUNS = 30
"""Three times what a 90th percentile needs, so that three samples lie above it."""

WARMUP_RUNS = 10
"""Engines finish their lazy set-up within the first few runs; ten leaves a margin."""

CAP_FACTOR = 5.0
"""Sampling ends at this many times `min_seconds` even when `min_runs` is not reached: a slow model still ends."""

CAP_SECONDS = 10.0
"""Sampling of a slow model may take this long however short `min_seconds` is."""

_WARMUP_SHARE = 0.05
# A frequency governor needs tens of milliseconds to reach its speed; beyond a second a fixed warm-up buys nothing more.
_WARMUP_SECONDS = (0.1, 1.0)

_LONGEST_WARMUP_SECONDS = 30.0
_WARMUP_CAP_SHARE = 0.25
# A warm-up that has not become steady by then is said to have not; on a restless machine it never would.

_LONGEST_SECONDS = 24 * 3600.0

# Interpreter, numpy and an engine from a cold SD card, on an emulated board.
_START_SECONDS = 180.0
# TensorRT on a small board builds an engine of a large network for minutes.
_BUILD_SECONDS = 3600.0
# A slow SD card reads 10 MB/s, and a model is read and then unpacked.
_LOAD_BYTES_PER_SECOND = 5e6


def make_plan(
    *,
    batch: int = 1,
    seconds: float = SECONDS,
    min_runs: int = MIN_RUNS,
    warmup_runs: int = WARMUP_RUNS,
    seed: int = 0,
    timed: str = "run",
    scenario: str | None = None,
    qps: float | None = None,
    sustain_seconds: float | None = None,
    latency_bound_ns: float | None = None,
    load_generator: str | None = None,
) -> Plan:
    """Return a plan whose values were checked.

    Args:
        batch: images per run, at least 1.
        seconds: of sampling at least, above 0.
        min_runs: samples at least, at least 1.
        warmup_runs: runs after the first and before sampling, at least 0; the warm-up also lasts `warmup_seconds`.
        seed: of the input values and of the bootstrap, at least 0.
        timed: what lies inside the timed region, one of `edgecnn.bench.timed.TIMED`.
        scenario: one of `edgecnn.bench.scenarioresult.SCENARIOS`, or None.
        qps: arrivals per second, for the scenario "server" alone and needed there.
        sustain_seconds: run for so long without a pause and keep the curve over time; takes the place of `seconds`.
        latency_bound_ns: latency that 99% of the queries must not exceed, above 0; for the scenario "server" alone.
        load_generator: who issues the queries of a scenario and times them, one of `edgecnn.bench.generators.GENERATORS`; None
            is our own.

    Raises:
        BadInput: a value outside these limits.
        Contradiction: a scenario and a sustained run at once, or a load generator without a scenario.
        UnknownName: no such load generator.
        MissingDependency: its package is not installed.
        UnavailableError: its package does not work here.
    """
    if scenario is not None and sustain_seconds is not None:
        raise Contradiction("--scenario and --sustain exclude each other", "ask for one of them")
    _check_server(scenario, qps=qps, latency_bound_ns=latency_bound_ns)
    if load_generator is not None and scenario is None:
        raise Contradiction("--load-generator needs a load pattern", "--scenario " + "|".join(SCENARIOS))
    version = generator_version(load_generator or OWN)
    seconds = seconds if sustain_seconds is None else sustain_seconds
    for name, value in (("batch", batch), ("min_runs", min_runs)):
        _at_least(name, value, 1)
    for name, value in (("warmup_runs", warmup_runs), ("seed", seed)):
        _at_least(name, value, 0)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise BadInput("seconds", expected=f"above 0, at most {_LONGEST_SECONDS:g}", got=f"{seconds:g}")
    if load_generator == MLCOMMONS:
        check_load(scenario or "", seconds=seconds, qps=qps)
    return Plan(
        batch=batch,
        warmup_runs=warmup_runs,
        min_runs=min_runs,
        min_seconds=float(seconds),
        max_seconds=max(CAP_SECONDS, CAP_FACTOR * seconds) if sustain_seconds is None else float(seconds),
        seed=seed,
        timed=timed,
        scenario=scenario,
        qps=qps,
        sustain_seconds=sustain_seconds,
        latency_bound_ns=latency_bound_ns,
        load_generator=load_generator or OWN,
        load_generator_version=version,
    )


def warmup_seconds(plan: Plan) -> float:
    """Return how long the warm-up lasts at least: a twentieth of the sampling, between 0.1 and 1 second."""
    low, high = _WARMUP_SECONDS
    return min(max(_WARMUP_SHARE * plan.min_seconds, low), high)


def warmup_limit_seconds(plan: Plan) -> float:
    """Return when the warm-up ends, steady or not: after a quarter of the sampling, and at least twice its own time."""
    return max(2 * warmup_seconds(plan), _WARMUP_CAP_SHARE * min(plan.min_seconds, _LONGEST_WARMUP_SECONDS))


def expected_seconds(plan: Plan) -> float:
    """Return how long warm-up and sampling of a model take that is fast enough to reach `min_runs` in time."""
    return warmup_seconds(plan) + plan.min_seconds


def load_limit_seconds(size_bytes: int, *, builds: bool = False) -> float:
    """Return after how long a worker that loads counts as hung: far beyond what a slow board and a cold disk need.

    Args:
        size_bytes: of the model file.
        builds: the engine tries out kernels while it loads.
    """
    return (_BUILD_SECONDS if builds else _START_SECONDS) + size_bytes / _LOAD_BYTES_PER_SECOND


def seconds_for_runs(plan: Plan, run_ns: float) -> int:
    """Return the `seconds` with which there are `min_runs` runs of `run_ns` each, or as many queries, rounded up."""
    if plan.qps is not None:
        return math.ceil(plan.min_runs / plan.qps)
    # Neither a scenario nor a sustained run goes on beyond its time to reach a number of runs.
    capped = plan.scenario is None and plan.sustain_seconds is None
    return math.ceil(plan.min_runs * run_ns / 1e9 / (CAP_FACTOR if capped else 1))


def _check_server(scenario: str | None, *, qps: float | None, latency_bound_ns: float | None) -> None:
    """Return if these go with the scenario; the rate is needed for "server", and no other takes any of them."""
    if (qps is not None) != (scenario == "server"):
        raise BadInput(
            "qps", "--scenario server --qps 50", expected="with the scenario server and only there", got=f"{qps}"
        )
    if latency_bound_ns is not None and (scenario != "server" or not 0 < latency_bound_ns < math.inf):
        raise BadInput(
            "latency bound",
            "--scenario server --qps 50 --latency-bound 20ms",
            expected="above 0, with the scenario server and only there",
            got=f"{latency_bound_ns:g} ns, scenario {scenario}",
        )


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise BadInput(name, expected=f"at least {low}", got=str(value))
