"""Records as a test needs them: a Raspberry Pi that never was, with latencies whose median is as asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgecnn.bench.stats import summarise
from edgecnn.results import Device, Metric, Plan, Provenance, Quality, Reason, Record, Subject, Verdict
from edgecnn.specs import Accuracy, EngineInfo

ACCURACY = Accuracy(
    metric="top1",
    value=0.9258,
    dataset="fashion-mnist",
    split="test",
    images=10_000,
    precision="int8",
    backend="cpu",
)
"""The accuracy of `made_record`."""

_BASE = Record(
    status="ok",
    subject=Subject(
        network="mobilenet_v1",
        variant="0.25_32",
        precision="int8",
        batch=4,
        input_shape=(4, 1, 32, 32),
        file="mobilenet_v1_0.25_32.int8.onnx",
        sha256="9f86d081",
        size_bytes=312_345,
        params=218_346,
        weights="bundled",
        accuracy=(ACCURACY,),
    ),
    runtime=EngineInfo(
        backend="cpu",
        engine="onnxruntime",
        engine_version="1.23.2",
        providers_asked=("CPUExecutionProvider",),
        providers_active=("CPUExecutionProvider",),
        nodes={"CPUExecutionProvider": 31},
        threads=4,
        options={"spinning": True, "arena": True},
    ),
    device=Device(
        profile="rpi4", board="Raspberry Pi 4 Model B", cpu="Cortex-A72", arch="aarch64", cores=4, governor="ondemand"
    ),
    plan=Plan(batch=4, warmup_runs=5, min_runs=30, min_seconds=2.0, max_seconds=60.0, seed=7, clock_resolution_ns=56),
    quality=Quality(verdict="valid"),
    provenance=Provenance(
        edgecnn="0.1.0",
        commit=None,
        python="3.11.2",
        numpy="2.0.1",
        argv=(),
        time_utc="2025-01-31T12:00:00+00:00",
        host=None,
    ),
)


def made_latencies(
    median_ns: float = 1e6, *, seed: int = 0, count: int = 400, sigma: float = 0.02
) -> tuple[float, ...]:
    """Return samples whose median is exactly as given.

    Args:
        median_ns: the median.
        seed: of the noise.
        count: number of samples.
        sigma: standard deviation of their logarithms.
    """
    samples = np.exp(sigma * np.random.default_rng(seed).standard_normal(count))
    return tuple((median_ns * samples / np.median(samples)).tolist())


def made_record(
    samples: tuple[float, ...] | None = None,
    *,
    memory: float | None = 20e6,
    verdict: Verdict = "valid",
    blocks: tuple[int, ...] = (),
    group: str | None = None,
    **changes: Any,
) -> Record:
    """Return a record.

    Args:
        samples: of the latency, nanoseconds; `made_latencies()` by default.
        memory: metric "memory_added", bytes; None for none.
        verdict: "load" is the reason of one that is not valid.
        blocks: of the latency.
        group: of records that were measured in turn.
        changes: other values by group and field: `runtime_threads=2`.
    """
    latency = summarise("latency", "ns", made_latencies() if samples is None else samples)
    metrics: tuple[Metric, ...] = (replace(latency, blocks=blocks),)
    if memory is not None:
        metrics += (summarise("memory_added", "bytes", [memory]),)
    reason = Reason(code="load", severity="suspect", message="others were busy")
    made = replace(
        _BASE,
        metrics=metrics,
        quality=Quality(verdict=verdict, reasons=() if verdict == "valid" else (reason,)),
        provenance=replace(_BASE.provenance, group=group),
    )
    for name, value in changes.items():
        part, _, field = name.partition("_")
        made = replace(made, **{part: replace(getattr(made, part), **{field: value})})
    return made
