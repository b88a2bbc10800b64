"""What a measurement asks of a load pattern, and what of its result goes into the record."""

from __future__ import annotations

import math

from edgecnn.bench.scenarios import OFFLINE_SAMPLES, ScenarioResult
from edgecnn.results import Plan, ScenarioFigures


def figures_of(result: ScenarioResult) -> ScenarioFigures:
    """Return the figures of a record; the latencies of the queries are a metric of their own."""
    tail = result.tail
    return ScenarioFigures(
        title=result.title,
        samples_per_second=result.samples_per_second,
        percent=tail.percent if tail else None,
        tail_ns=tail.value_ns if tail else None,
        queries=len(result.latencies_ns),
        queries_needed=tail.needed if tail else None,
        notes=result.notes,
    )


def offline_samples(plan: Plan, run_ns: float) -> int:
    """Return how many samples the offline query has: as many as fit into the plan's seconds, at most those of the rules.

    Args:
        plan: of the measurement.
        run_ns: of a whole batch.
    """
    runs = max(1, math.floor(plan.min_seconds * 1e9 / max(run_ns, 1.0)))
    return min(OFFLINE_SAMPLES, runs * plan.batch)
