"""What came of a measurement: the record of all that a worker told, judged."""

from __future__ import annotations

from dataclasses import replace

from edgecnn.bench.doubts.evidence import Evidence
from edgecnn.bench.doubts.verdict import judge
from edgecnn.bench.estimate.footprint import footprint_of
from edgecnn.bench.generators import CLOCK, MLCOMMONS
from edgecnn.bench.job import Job
from edgecnn.bench.metrics import metrics_of
from edgecnn.bench.peaks.calibration import with_compute
from edgecnn.bench.seen import Seen, all_activity, spanned
from edgecnn.powerspec import Power
from edgecnn.results import Metric, Plan, Record
from edgecnn.runtimes.threads import usable_threads

NOT_ASKED = "power was not asked for"


def record_of(seen: Seen, job: Job, blank: Record, *, interrupted: str = "") -> Record:
    """Return the record of a measurement.

    Args:
        seen: what the worker told, with at least one block.
        job: what was measured.
        blank: the record with subject, device and provenance.
        interrupted: how far it had come when it was stopped from outside, empty where it was not.
    """
    loaded = seen.loaded
    plan = replace(job.plan, clock=loaded.clock, clock_resolution_ns=loaded.clock_resolution_ns)
    if plan.load_generator == MLCOMMONS:
        plan = replace(plan, clock=CLOCK, clock_resolution_ns=None)
    metrics = metrics_of(seen, plan)
    evidence = _evidence(seen, job, blank, plan=plan, latency=metrics[0], interrupted=interrupted)
    record = replace(
        blank,
        status="ok",
        reason=None,
        runtime=seen.warmed.info,
        plan=plan,
        metrics=metrics,
        quality=judge(evidence),
        footprint=footprint_of(
            job.artifact,
            batch=plan.batch,
            backend=job.backend,
            threads=job.options.threads or usable_threads(job.root),
            root=job.root,
        ),
        scenario=seen.scenario,
        power=seen.power or Power(meter=None, reason=NOT_ASKED, fix="--power auto"),
    )
    return with_compute(record, root=job.root)


def _evidence(seen: Seen, job: Job, blank: Record, *, plan: Plan, latency: Metric, interrupted: str) -> Evidence:
    before, after = spanned(seen.blocks)
    start = seen.blocks[0].begin_ns
    return Evidence(
        latency=latency,
        plan=plan,
        before=before,
        after=after,
        info=seen.warmed.info,
        device=blank.device,
        activity=all_activity(seen.blocks),
        emulated=seen.loaded.emulated,
        precision=blank.subject.precision,
        options=job.options,
        course=tuple(((block.end_ns - start) / 1e9, block.after) for block in seen.blocks),
        gpu_reasons=tuple(block.gpu_reasons for block in seen.blocks if block.gpu_reasons is not None),
        unsettled="" if seen.warmed.steady else seen.warmed.reason,
        interrupted=interrupted,
        busiest=seen.busiest,
        power_other_cores=seen.power.other_cores if seen.power and seen.power.power_w is not None else None,
    )
