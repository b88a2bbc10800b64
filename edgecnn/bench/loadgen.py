"""MLCommons' load generator (package mlcommons-loadgen) in place of ours: it issues the queries, times them and judges.

The model runs in the same process and thread, by the same function, as under `edgecnn.bench.scenarios`: what differs is who
says when a query arrives and what time it is. The generator's clock is C++'s high_resolution_clock, with GNU's library the
system clock, which can be set while it is looked at; a step of it is found by a monotonic clock beside it.

It is a load generator that MLPerf results are made with, and what it gives here is no such result: models, data, durations
and accuracy are not those of the rules, and nobody reviewed them.

Its logs are written into a folder for temporary files and unlinked as soon as they are open, so that they are gone
however this process ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from edgecnn.bench.clock import Clock, MonotonicClock
from edgecnn.bench.generators import MLCOMMONS, PACKAGE, check_load, generator_version, load_mlcommons
from edgecnn.bench.loadgenlogs import Judgement, Logs, Queries, UnreadLogs, read_judgement, read_queries
from edgecnn.bench.scenarioresult import OFFLINE_TOLERANCE, STREAMS, ScenarioResult, judged_by_another, make_result
from edgecnn.bench.scenarios import PATIENCE, Issue
from edgecnn.errors import MeasurementError
from edgecnn.units import duration_text

MAX_QUERIES = 1 << 18
"""A row of samples ends here at the latest: each is prepared beforehand and takes most of a kilobyte of its logs."""

# Samples that it believes to have; what they are does not matter, and padding takes at least those of one query.
_SAMPLES = 64

# It prepares queries for a model this many times faster than the warm-up showed, and ends early where even that is too few.
_FASTER = 4.0

# Further apart than this, the two clocks did not see the same time: one was set. Less may be a process that had to wait.
_STEP_NS = 100_000_000

# Between its clock's start and ours a query's samples are handed over; a slow board takes a microsecond or two for each.
_HANDED_OVER_NS = 4_000

_NS = 1e9
_NO_BOUND_NS = 10**18  # 30 years


def run_loadgen(
    scenario: str,
    issue: Issue,
    *,
    seconds: float,
    query_ns: float,
    qps: float | None = None,
    bound_ns: float | None = None,
    samples_per_query: int = STREAMS,
    offline_samples: int = 1,
    seed: int = 0,
    clock: Clock | None = None,
) -> ScenarioResult:
    """Return what a scenario gives under MLCommons' load generator, as `edgecnn.bench.scenarios.run_scenario` does.

    Queries of "server" are issued one at a time. After `PATIENCE` times its seconds it is left. The arrivals are the
    generator's own, so that they are others than ours with the same seed.

    Args:
        scenario: one of `SCENARIOS`.
        issue: runs samples and returns when they are done.
        seconds: queries are issued for so long, to the millisecond; "offline" takes as long as it takes.
        query_ns: what a query is expected to take.
        qps: arrivals per second, for "server".
        bound_ns: latency bound, for "server".
        samples_per_query: of "multi-stream".
        offline_samples: of "offline".
        seed: of the arrivals.
        clock: a monotonic one, beside the generator's.

    Raises:
        MissingDependency: the package is not installed.
        UnavailableError: the package does not work here.
        BadInput: see `check_load`.
        MeasurementError: its logs cannot be read, or the system's clock was set meanwhile.
        Exception: what `issue` raises.
    """
    check_load(scenario, seconds=seconds, qps=qps)
    loadgen = load_mlcommons()
    size = samples_per_query if scenario == "multi-stream" else 1
    settings = _settings(
        loadgen, scenario, seconds=seconds, query_ns=query_ns, size=size, qps=qps, bound_ns=bound_ns, seed=seed
    )
    if scenario == "offline":
        settings.min_query_count = min(offline_samples, MAX_QUERIES)
    answering = _Answering(loadgen, issue, clock or MonotonicClock(), keeps=scenario == "server")
    with Logs() as logs:
        _start(loadgen, settings, answering, logs, traced=scenario != "offline")
        if answering.error is not None:
            raise answering.error
        judgement, queries = _read(scenario, logs, samples=answering.samples)
    return _result(scenario, judgement, queries, answering, seconds=seconds, qps=qps, bound_ns=bound_ns)


def _settings(
    loadgen: Any,
    scenario: str,
    *,
    seconds: float,
    query_ns: float,
    size: int,
    qps: float | None,
    bound_ns: float | None,
    seed: int,
) -> Any:
    """Return the settings of a run; its percentiles are those of the rules by default."""
    names = {"single-stream": "SingleStream", "multi-stream": "MultiStream", "server": "Server", "offline": "Offline"}
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, names[scenario])
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = math.ceil(seconds * 1000)
    settings.min_query_count = 1
    settings.qsl_rng_seed = settings.sample_index_rng_seed = settings.schedule_rng_seed = seed
    settings.multi_stream_samples_per_query = size
    # It prepares twice as many as fit into the time.
    expected_ns = max(query_ns / _FASTER, 2 * seconds * _NS * size / MAX_QUERIES, 1.0)
    settings.single_stream_expected_latency_ns = settings.multi_stream_expected_latency_ns = expected_ns
    if scenario == "offline":
        # A rate so low that no duration decides how many samples there are, only their number.
        settings.offline_expected_qps = 1e-6
        settings.min_duration_ms = math.floor((1 - OFFLINE_TOLERANCE) * seconds * 1000)
    if scenario == "server":
        settings.server_target_qps = float(qps or 0)
        settings.server_target_latency_ns = _NO_BOUND_NS if bound_ns is None else int(bound_ns)
        settings.max_duration_ms = math.ceil(PATIENCE * seconds * 1000)
        # Each is done before the next is issued; more of them at a time are only there after an error, and end the run.
        settings.server_max_async_queries = 1
        if float(qps or 0) * seconds >= MAX_QUERIES:
            settings.min_duration_ms, settings.min_query_count = 0, MAX_QUERIES
    return settings


def _start(loadgen: Any, settings: Any, answering: _Answering, logs: Logs, *, traced: bool) -> None:
    output = loadgen.LogOutputSettings()
    output.outdir = str(logs.folder)
    output.copy_detail_to_stdout = output.copy_summary_to_stdout = False
    log_settings = loadgen.LogSettings()
    log_settings.log_output = output
    log_settings.enable_trace = traced

    def load(_samples: Sequence[int]) -> None:
        try:
            logs.take()
        except OSError as error:
            answering.error = error

    with ExitStack() as stack:
        model = loadgen.ConstructSUT(answering.query, answering.flush)
        stack.callback(loadgen.DestroySUT, model)
        samples = loadgen.ConstructQSL(_SAMPLES, _SAMPLES, load, _nothing)
        stack.callback(loadgen.DestroyQSL, samples)
        # The empty name: no "audit.config" of the current folder changes the settings.
        loadgen.StartTestWithLogSettings(model, samples, settings, log_settings, "")


def _nothing(_samples: Sequence[int]) -> None:
    pass


class _Answering:
    """What the load generator calls: runs the samples of a query and says that they are done.

    An exception must not fly through the generator, whose thread would go on writing into logs that are gone. It is kept,
    and the queries that are left are answered without a run; those of "server" would be waited for, so they get no answer,
    upon which the generator gives up, and then all at once.

    Attributes:
        error: what the first run that failed raised.
        samples: how many were run.
        begin_ns: when the first query came.
        end_ns: when the last one was done.
    """

    def __init__(self, loadgen: Any, issue: Issue, clock: Clock, *, keeps: bool) -> None:
        self.error: BaseException | None = None
        self.samples = 0
        self.begin_ns: int | None = None
        self.end_ns = 0
        self._loadgen, self._issue, self._clock, self._keeps = loadgen, issue, clock, keeps
        self._kept: list[Any] = []

    def query(self, samples: Sequence[Any]) -> None:
        """Answer a query."""
        if self.begin_ns is None:
            self.begin_ns = self._clock.now_ns()
        done = [self._loadgen.QuerySampleResponse(sample.id, 0, 0) for sample in samples]
        if self.error is None:
            try:
                self._issue([sample.index for sample in samples])
            except BaseException as error:
                self.error = error
        if self.error is not None and self._keeps:
            self._kept += done
            return
        self._loadgen.QuerySamplesComplete(done)
        self.end_ns = self._clock.now_ns()
        self.samples += len(samples)

    def flush(self) -> None:
        """Answer what has no answer yet; no more queries come."""
        if self._kept:
            self._loadgen.QuerySamplesComplete(self._kept)


def _read(scenario: str, logs: Logs, *, samples: int) -> tuple[Judgement, Queries | None]:
    try:
        judgement = read_judgement(scenario, logs.named("detail"))
        queries = None if scenario == "offline" else read_queries(logs.named("trace"))
        if queries is not None and queries.arrived_ns.size != judgement.queries:
            raise UnreadLogs(f"{queries.arrived_ns.size} queries of {judgement.queries}, {samples} samples")
    except UnreadLogs as error:
        raise MeasurementError(
            f"the logs of {PACKAGE} {generator_version(MLCOMMONS) or ''} cannot be read: {error}",
            "make room in the folder for temporary files, or --load-generator own",
        ) from None
    return judgement, queries


def _result(
    scenario: str,
    judgement: Judgement,
    queries: Queries | None,
    answering: _Answering,
    *,
    seconds: float,
    qps: float | None,
    bound_ns: float | None,
) -> ScenarioResult:
    if queries is None:
        latencies, elapsed_ns, busy_ns = [judgement.longest_ns], judgement.longest_ns, judgement.longest_ns
    else:
        latencies = (queries.done_ns - queries.arrived_ns).tolist()
        elapsed_ns = int(queries.done_ns.max() - queries.arrived_ns[0])
        busy_ns = int(queries.done_ns.max() - queries.issued_ns[0])
    assert answering.begin_ns is not None
    handed_over_ns = _HANDED_OVER_NS * answering.samples if queries is None else 0
    seen_ns = answering.end_ns - answering.begin_ns
    _check_clock(busy_ns, seen_ns, least_ns=min(latencies), allowed_ns=_STEP_NS + handed_over_ns)
    result = make_result(
        scenario,
        latencies,
        samples=answering.samples,
        elapsed_ns=elapsed_ns,
        qps=qps,
        bound_ns=bound_ns,
        unanswered=max(0, judgement.scheduled - judgement.queries) if scenario == "server" else 0,
    )
    unmet = judgement.unmet
    ran_out = queries is not None and _ran_out(judgement, queries, seconds)
    if ran_out:
        unmet = (*unmet, f"it ran out of the {judgement.scheduled:,} queries that it had prepared")
    return judged_by_another(result, valid=judgement.valid and not ran_out, unmet=unmet, tail_ns=judgement.tail_ns)


def _ran_out(judgement: Judgement, queries: Queries, seconds: float) -> bool:
    """Tell whether all queries that were prepared had arrived before the time was over."""
    arrived_ns = int(queries.arrived_ns[-1] - queries.arrived_ns[0])
    return judgement.queries == judgement.scheduled and arrived_ns < seconds * _NS


def _check_clock(told_ns: int, seen_ns: int, *, least_ns: int, allowed_ns: int) -> None:
    """Return if the load generator's clock went on like the monotonic one.

    Raises:
        MeasurementError: it was set.
    """
    apart = told_ns - seen_ns
    if least_ns < 0 or abs(apart) > allowed_ns:
        raise MeasurementError(
            f"the system's clock was set by {duration_text(abs(apart))} while {PACKAGE} timed with it",
            "measure again, or --load-generator own, whose clock nobody sets",
        )
