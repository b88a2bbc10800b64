"""Candidates and their figures as a test of tuning needs them, and a stand-in for measuring them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgecnn.results import Record
from edgecnn.testing.records import made_latencies, made_record
from edgecnn.tune.candidates import Candidate, FileForm
from edgecnn.tune.choice import Point
from edgecnn.tune.figures import Figures


def made_candidate(name: str = "net", **changes: Any) -> Candidate:
    """Return a candidate whose fp32 file has that name."""
    return Candidate(form=FileForm(variant=name, precision="fp32"), backend="cpu", **changes)


def made_figures(latency_ns: float = 1e6, **changes: Any) -> Figures:
    """Return figures of a candidate with this latency, images per second to match, and the changes."""
    known: dict[str, Any] = {
        "latency_ns": latency_ns,
        "throughput": 1e9 / latency_ns,
        "memory_bytes": 100e6,
        "size_bytes": 1_000_000,
        "accuracy": 0.9,
        "drop_points": 0.0,
        "macs": 1_000_000,
        "verdict": "valid",
    }
    return Figures(**{**known, **changes})


def made_point(latency_ns: float = 1e6, *, name: str = "net", confirmed: bool = True, **changes: Any) -> Point:
    """Return a point of `made_candidate` with `made_figures`."""
    figures = made_figures(latency_ns, **changes)
    return Point(candidate=made_candidate(name), figures=figures, confirmed=confirmed)


class FakeMeasure:
    """Measures candidates by a function of theirs, with noise that falls with the root of the seconds.

    Args:
        latency_ns: true median of a candidate.
        memory_bytes: greatest resident size of a candidate.
        sigma: standard deviation of the noise of the logarithm at one second.
        seed: of the noise.
        fails: candidates whose measurement fails.
        on_call: called with the candidates and the seconds of each call.

    Attributes:
        calls: candidates, seconds of each, and whether it counted, of every call.
    """

    def __init__(
        self,
        latency_ns: Callable[[Candidate], float],
        *,
        memory_bytes: Callable[[Candidate], float] = lambda one: 100e6,
        sigma: float = 0.0,
        seed: int = 0,
        fails: Callable[[Candidate], bool] = lambda one: False,
        on_call: Callable[[Sequence[Candidate], float], None] = lambda some, seconds: None,
    ) -> None:
        self.calls: list[tuple[tuple[Candidate, ...], float, bool]] = []
        self._latency_ns = latency_ns
        self._memory_bytes = memory_bytes
        self._sigma = sigma
        self._random = random.Random(seed)
        self._fails = fails
        self._on_call = on_call

    def __call__(self, candidates: Sequence[Candidate], seconds: float, counts: bool) -> list[Record]:
        """Return a record of each candidate, see `edgecnn.tune.measuring.Measure`."""
        self.calls.append((tuple(candidates), seconds, counts))
        self._on_call(candidates, seconds)
        return [self._record(one, seconds) for one in candidates]

    def _record(self, one: Candidate, seconds: float) -> Record:
        noise = self._sigma * self._random.gauss(0, 1) / seconds**0.5
        samples = made_latencies(self._latency_ns(one) * (1 + noise), count=40, sigma=0.001)
        record = made_record(samples, plan_batch=one.batch, runtime_backend=one.backend)
        if self._fails(one):
            return replace(record, status="failed", reason="the worker died", metrics=())
        peak = replace(record.metrics[-1], name="memory_peak", median=self._memory_bytes(one))
        return replace(record, metrics=(*record.metrics, peak))
