"""What a measurement asks of a load pattern, and what of its result goes into the record."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgecnn.bench.clock import Clock
from edgecnn.bench.generators import MLCOMMONS
from edgecnn.bench.latency import Run, sample
from edgecnn.bench.loadgen import MAX_QUERIES as MLCOMMONS_SAMPLES
from edgecnn.bench.loadgen import run_loadgen
from edgecnn.bench.scenarioresult import OFFLINE_TOLERANCE, STREAMS, ScenarioResult
from edgecnn.bench.scenarios import MAX_QUERIES, run_scenario
from edgecnn.results import Plan, ScenarioFigures
from edgecnn.units import count_of, duration_text

_IMAGES = {"single-stream": 1, "multi-stream": STREAMS, "server": 1}

_LOOK = 0.1
# So long, of the plan's seconds, runs are timed that say how many samples fit into them.


def run_load(plan: Plan, run: Run, *, run_ns: float, clock: Clock) -> ScenarioResult:
    """Return what the plan's scenario gives, under the plan's load generator.

    Args:
        plan: with a scenario.
        run: runs a batch; a query that fills none is run with padding.
        run_ns: what that is expected to take.
        clock: what times our own queries, and stands beside the clock of another generator.

    Raises:
        EdgecnnError: see `run_scenario` and `run_loadgen`.
    """

    def issue(samples: Sequence[int]) -> None:
        for _ in range(0, len(samples), plan.batch):
            run()

    scenario = plan.scenario or ""
    if plan.load_generator == MLCOMMONS:
        return run_loadgen(
            scenario,
            issue,
            seconds=plan.min_seconds,
            query_ns=run_ns * math.ceil(_IMAGES.get(scenario, 1) / plan.batch),
            qps=plan.qps,
            bound_ns=plan.latency_bound_ns,
            offline_samples=offline_samples(plan, run_ns, most=MLCOMMONS_SAMPLES),
            seed=plan.seed,
            clock=clock,
        )
    return run_scenario(
        scenario,
        issue,
        seconds=plan.min_seconds,
        qps=plan.qps,
        bound_ns=plan.latency_bound_ns,
        offline_samples=offline_samples(plan, run_ns),
        seed=plan.seed,
        clock=clock,
    )


def mean_run_ns(plan: Plan, run: Run, clock: Clock) -> float:
    """Return how long a run takes on average, over a tenth of the plan's seconds; slow ones count as much as they last.

    Args:
        plan: of the measurement.
        run: runs a batch.
        clock: what times it.
    """
    seconds = _LOOK * plan.min_seconds
    return float(sample(run, clock, min_runs=1, min_seconds=seconds, max_seconds=seconds).mean())


def offline_samples(plan: Plan, run_ns: float, *, most: int = MAX_QUERIES) -> int:
    """Return how many samples the offline query has: as many whole batches as fit into the plan's seconds, at least one.

    Args:
        plan: of the measurement.
        run_ns: of a whole batch.
        most: samples at most, unless a single batch has more.
    """
    runs = min(round(plan.min_seconds * 1e9 / max(run_ns, 1.0)), most // plan.batch)
    return max(1, runs) * plan.batch


def figures_of(result: ScenarioResult, plan: Plan) -> ScenarioFigures:
    """Return the figures of a record; the latencies of the queries are a metric of their own.

    Args:
        result: of the scenario.
        plan: that asked for it.
    """
    tail = result.tail
    return ScenarioFigures(
        title=result.title,
        samples_per_second=result.samples_per_second,
        percent=tail.percent if tail else None,
        tail_ns=tail.value_ns if tail else None,
        queries=len(result.latencies_ns) + (result.unanswered or 0),
        queries_needed=tail.needed if tail else None,
        notes=(*result.notes, *_padding_notes(result.scenario, plan.batch), *_length_notes(result, plan)),
        qps=result.qps,
        bound_ns=result.bound_ns,
        over_bound=result.over_bound,
        bound_held=result.bound_held,
        unanswered=result.unanswered,
        seconds=result.seconds,
        valid=result.valid,
    )


def seconds_missed(seconds: float | None, plan: Plan) -> float | None:
    """Return by which share the offline query lasted longer (above 0) or shorter than was asked for; None within tolerance.

    Args:
        seconds: that it lasted, None where unknown.
        plan: that asked for it.
    """
    if plan.scenario != "offline" or seconds is None:
        return None
    share = seconds / plan.min_seconds - 1
    return share if abs(share) > OFFLINE_TOLERANCE else None


def missed_text(share: float) -> str:
    """Return such a share in words, "30% longer"."""
    return f"{abs(share):.0%} {'longer' if share > 0 else 'shorter'}"


def _length_notes(result: ScenarioResult, plan: Plan) -> tuple[str, ...]:
    share = seconds_missed(result.seconds, plan)
    if share is None:
        return ()
    took, asked = duration_text(result.seconds * 1e9), duration_text(plan.min_seconds * 1e9)
    why = _why_missed(share, result.samples, plan)
    return (f"the query took {took}, {missed_text(share)} than the {asked} asked for: {why}",)


def _why_missed(share: float, samples: int, plan: Plan) -> str:
    if samples <= plan.batch:
        return "it is a single batch"
    if share > 0:
        return "runs were slower than just before it"
    most = MLCOMMONS_SAMPLES if plan.load_generator == MLCOMMONS else MAX_QUERIES
    if samples + plan.batch > most:
        return f"it has no more than {most:,} samples"
    return "runs were faster than just before it"


def _padding_notes(scenario: str, batch: int) -> tuple[str, ...]:
    images = _IMAGES.get(scenario)
    if images is None or images % batch == 0:
        return ()
    runs = math.ceil(images / batch)
    ran = f"a batch of {batch}" if runs == 1 else f"{runs} batches of {batch}"
    padding = f"{runs * batch - images} of {runs * batch} images are padding"
    return (f"a query of {count_of(images, 'image')} ran as {ran}: {padding}; measure with --batch {images}",)
