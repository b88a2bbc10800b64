"""Figures of a server in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from edgecnn.batcher import BatcherStats
from edgecnn.serve.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds; from a small network on a fast machine to a large one on a slow board.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts what a server answers; queue and batches are read from the service when they are asked for.

    Args:
        service: the model that is served.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "edgecnn_requests", "Requests by route and HTTP status.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "edgecnn_request_seconds",
            "From the header of a request to its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_ServiceCollector(service))
        ProcessCollector(registry=self._registry)
        # Looking up the child of a label costs more than counting.
        self._counters: dict[tuple[str, int], Any] = {}
        self._histograms: dict[str, Any] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._requests.labels(route, str(status))
            self._histograms.setdefault(route, self._seconds.labels(route))
        counter.inc()
        self._histograms[route].observe(seconds)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Any]:
        stats = self._service.batcher.stats()
        yield GaugeMetricFamily("edgecnn_in_flight", "Requests for inference at work.", self._service.in_flight.now)
        yield GaugeMetricFamily("edgecnn_ready", "Whether new work should be sent here.", int(self._service.ready))
        yield GaugeMetricFamily("edgecnn_queue", "Requests that wait for a batch.", stats.queued)
        yield CounterMetricFamily("edgecnn_queue_seconds", "Time in the queue, all requests.", stats.waited_ms / 1e3)
        yield _outcomes(stats)
        yield _batches(stats)


def _outcomes(stats: BatcherStats) -> CounterMetricFamily:
    family = CounterMetricFamily("edgecnn_batcher_requests", "What became of requests for a batch.", labels=["outcome"])
    for outcome in ("answered", "failed", "expired", "cancelled", "refused"):
        family.add_metric([outcome], getattr(stats, outcome))
    return family


def _batches(stats: BatcherStats) -> HistogramMetricFamily:
    buckets, total = [], 0
    for rows, count in stats.sizes.items():
        total += count
        buckets.append((str(float(rows)), float(total)))
    family = HistogramMetricFamily("edgecnn_batch_rows", "Rows of a run.")
    rows_run = sum(rows * count for rows, count in stats.sizes.items())
    family.add_metric([], [*buckets, ("+Inf", float(total))], rows_run)
    return family
