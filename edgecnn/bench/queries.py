"""What a measurement asks of a load pattern, and what of its result goes into the record."""

from __future__ import annotations

import math

from edgecnn.bench.scenarioresult import OFFLINE_SAMPLES, STREAMS, ScenarioResult
from edgecnn.results import Plan, ScenarioFigures
from edgecnn.units import count_of

_IMAGES = {"single-stream": 1, "multi-stream": STREAMS, "server": 1}


def figures_of(result: ScenarioResult, *, batch: int) -> ScenarioFigures:
    """Return the figures of a record; the latencies of the queries are a metric of their own.

    Args:
        result: of the scenario.
        batch: images per run; a query that fills no batch is run with padding.
    """
    tail = result.tail
    return ScenarioFigures(
        title=result.title,
        samples_per_second=result.samples_per_second,
        percent=tail.percent if tail else None,
        tail_ns=tail.value_ns if tail else None,
        queries=len(result.latencies_ns) + (result.unanswered or 0),
        queries_needed=tail.needed if tail else None,
        notes=(*result.notes, *_padding_notes(result.scenario, batch)),
        qps=result.qps,
        bound_ns=result.bound_ns,
        over_bound=result.over_bound,
        bound_held=result.bound_held,
        unanswered=result.unanswered,
    )


def offline_samples(plan: Plan, run_ns: float) -> int:
    """Return how many samples the offline query has: as many as fit into the plan's seconds, at most those of the rules.

    Args:
        plan: of the measurement.
        run_ns: of a whole batch.
    """
    runs = max(1, math.floor(plan.min_seconds * 1e9 / max(run_ns, 1.0)))
    return min(OFFLINE_SAMPLES, runs * plan.batch)


def _padding_notes(scenario: str, batch: int) -> tuple[str, ...]:
    images = _IMAGES.get(scenario)
    if images is None or images % batch == 0:
        return ()
    runs = math.ceil(images / batch)
    ran = f"a batch of {batch}" if runs == 1 else f"{runs} batches of {batch}"
    padding = f"{runs * batch - images} of {runs * batch} images are padding"
    return (f"a query of {count_of(images, 'image')} ran as {ran}: {padding}; measure with --batch {images}",)
