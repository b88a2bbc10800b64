"""The metrics of a record, by name.

    latency             ns        one sample per run, of a whole batch; its interval is a bootstrap seeded by the plan
    throughput          images/s  derived from latency: batch * 1e9 / ns of its median, interval, least and greatest
                                  sample; the mean is all images over all time; n is that of latency, and there are no
                                  samples of its own and no percentiles (the 90th of latency is a 10th of throughput)
    load                ns        opening the session, with the engine already imported; one sample
    first_run           ns        the first run after it; one sample
    warmup              runs      between the first run and the first sample; the plan's number is the least
    memory_baseline     bytes     resident before loading: interpreter, numpy, engine, input arrays
    memory_load         bytes     resident after loading
    memory_first_run    bytes     resident after the first run
    memory_steady       bytes     resident after the warm-up
    memory_pss          bytes     the same, with a page that n processes share counted as an n-th
    memory_peak         bytes     greatest resident size from the baseline to the last run, without the samples themselves
    memory_added        bytes     memory_peak less memory_baseline: weights, activations, outputs, workspace of the engine
    memory_run          bytes     most that one run holds at a time beyond what lies there between runs: without the
                                  engine's arena, in a process of its own that gives free memory back at once; on request
    memory_gpu          bytes     on the GPU after the warm-up, of this process: CUDA's context, weights, activations, workspace
    memory_cgroup_peak  bytes     most that all processes of the container held, page cache included
    sustained           ns        with a plan that has sustain_seconds: median of each of equally long parts, in order
    sustained_first     ns        the same for the first minute alone, or the first tenth of a shorter time
    sustained_last      ns        the same for the last minute or tenth

With a scenario, latency has one sample per query and throughput is that of the whole. With a sensor there are the metrics
of `edgecnn.bench.power.figures.power_metrics` besides.

Memory metrics are left out where the system does not tell them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edgecnn.bench.job import Block
from edgecnn.bench.memory import Phase
from edgecnn.bench.power.figures import power_metrics
from edgecnn.bench.seen import Seen, highest_peak, kept_samples
from edgecnn.bench.stats import summarise
from edgecnn.results import Metric, Plan, ScenarioFigures

MINUTE_SECONDS = 60.0

_SHARE = 0.1
# Of a time below ten minutes a tenth stands for the minute.


def metrics_of(seen: Seen, plan: Plan) -> tuple[Metric, ...]:
    """Return the metrics of the module's table that were seen; latency first.

    Args:
        seen: with at least one block.
        plan: of the measurement.
    """
    samples = kept_samples(seen.blocks)
    latency = summarise("latency", "ns", np.concatenate(samples), seed=plan.seed)
    if len(samples) > 1:
        latency = replace(latency, blocks=tuple(part.size for part in samples))
    singles = (
        ("load", "ns", seen.loaded.load_ns),
        ("first_run", "ns", seen.first.first_run_ns),
        ("warmup", "runs", seen.warmed.runs),
        *_memory(seen),
    )
    found = (summarise(name, unit, [value]) for name, unit, value in singles if value is not None)
    sustained = sustained_metrics(seen.blocks, plan) if plan.sustain_seconds else ()
    rate = throughput(latency, batch=plan.batch) if seen.scenario is None else _rate(seen.scenario, latency)
    power = power_metrics(seen.power, seed=plan.seed) if seen.power else ()
    return (latency, rate, *found, *sustained, *power)


def throughput(latency: Metric, *, batch: int) -> Metric:
    """Return images per second as they follow from the latency, see the module's table.

    Args:
        latency: in nanoseconds per run.
        batch: images per run.
    """

    def rate(nanoseconds: float) -> float:
        return batch * 1e9 / max(nanoseconds, 1.0)

    return Metric(
        name="throughput",
        unit="images/s",
        samples=(),
        n=latency.n,
        min=rate(latency.max),
        median=rate(latency.median),
        p90=None,
        p99=None,
        max=rate(latency.min),
        mean=rate(latency.mean),
        ci95=None if latency.ci95 is None else (rate(latency.ci95[1]), rate(latency.ci95[0])),
    )


def sustained_metrics(blocks: Sequence[Block], plan: Plan) -> tuple[Metric, ...]:
    """Return the curve over time and its two ends.

    Args:
        blocks: of one subject that ran without a pause.
        plan: with `sustain_seconds`.
    """
    medians = [float(np.median(block.samples_ns)) for block in blocks]
    window_ns = 1e9 * min(MINUTE_SECONDS, _SHARE * (plan.sustain_seconds or 0.0))
    begin, end = blocks[0].begin_ns, blocks[-1].end_ns
    middles = [(block.begin_ns + block.end_ns) / 2 for block in blocks]
    first = [median for median, middle in zip(medians, middles, strict=True) if middle <= begin + window_ns]
    last = [median for median, middle in zip(medians, middles, strict=True) if middle >= end - window_ns]
    rows = (("sustained", medians), ("sustained_first", first or medians[:1]), ("sustained_last", last or medians[-1:]))
    return tuple(summarise(name, "ns", values, seed=plan.seed) for name, values in rows)


def _rate(figures: ScenarioFigures, latency: Metric) -> Metric:
    """Return the throughput of a load pattern: one figure, whatever its queries took each."""
    return replace(summarise("throughput", "images/s", [figures.samples_per_second]), samples=(), n=latency.n)


def _memory(seen: Seen) -> Iterator[tuple[str, str, int | None]]:
    loaded, first, warmed = seen.loaded, seen.first, seen.warmed
    baseline = _resident(loaded.baseline)
    # The latencies of queries are kept as a list, which an engine must not be blamed for.
    blocks = [block.memory for block in seen.blocks] if seen.scenario is None else []
    peak = None if baseline is None else highest_peak([loaded.memory, first.memory, warmed.memory, *blocks])
    cgroup = max(
        (block.cgroup_peak_bytes for block in seen.blocks if block.cgroup_peak_bytes is not None), default=None
    )
    for name, value in (
        ("baseline", baseline),
        ("load", _resident(loaded.memory)),
        ("first_run", _resident(first.memory)),
        ("steady", _resident(warmed.memory)),
        ("pss", warmed.pss_bytes),
        ("peak", peak),
        ("added", None if baseline is None or peak is None else peak - baseline),
        ("run", seen.run_bytes),
        ("gpu", warmed.gpu_bytes),
        ("cgroup_peak", cgroup),
    ):
        yield f"memory_{name}", "bytes", value


def _resident(phase: Phase | None) -> int | None:
    return None if phase is None else phase.resident_bytes
