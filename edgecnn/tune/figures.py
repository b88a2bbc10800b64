"""What was measured of one candidate, with what is null and why."""

from __future__ import annotations

from dataclasses import dataclass

from edgecnn.results import Reason, Record, Verdict
from edgecnn.specs import Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One point of the search.

    Attributes:
        latency_ns: median of a run with its batch.
        latency_ci95_ns: 95% interval of that median, null with too few runs.
        latency_p90_ns: 90th percentile, null with too few runs.
        throughput: images per second, from the median.
        memory_bytes: greatest resident size of the process, null where the system does not tell it.
        size_bytes: of the model file.
        accuracy: top-1, 0..1; null where it cannot be measured.
        drop_points: top-1 below that of the fp32 file on the same images, percentage points; negative for a gain.
        energy_mj: gross, of one image; null where it was not measured.
        energy_reason: why energy is null.
        macs: multiply-adds of one image.
        verdict: of the measurement.
        reasons: what speaks against it.
        runs: samples of the latency.
    """

    latency_ns: float
    latency_ci95_ns: tuple[float, float] | None = None
    latency_p90_ns: float | None = None
    throughput: float
    memory_bytes: float | None = None
    size_bytes: int
    accuracy: float | None = None
    drop_points: float | None = None
    energy_mj: float | None = None
    energy_reason: str = ""
    macs: int | None = None
    verdict: Verdict | None = None
    reasons: tuple[Reason, ...] = ()
    runs: int = 0


def figures_of(
    record: Record, *, accuracy: Accuracy | None = None, reference: Accuracy | None = None, no_energy: str = ""
) -> Figures | None:
    """Return the figures of a record, None where the measurement failed.

    Args:
        record: of the candidate.
        accuracy: of its file through its backend, None where it cannot be measured.
        reference: accuracy of the fp32 file on the same images.
        no_energy: why energy was not measured, where it was not.
    """
    latency = record.metric("latency")
    if record.status != "ok" or latency is None:
        return None
    peak, energy = record.metric("memory_peak"), record.power.energy_mj if record.power else None
    reason = no_energy or (record.power.reason if record.power else None) or ""
    return Figures(
        latency_ns=latency.median,
        latency_ci95_ns=latency.ci95,
        latency_p90_ns=latency.p90,
        throughput=record.plan.batch * 1e9 / max(latency.median, 1.0),
        memory_bytes=peak.median if peak else None,
        size_bytes=record.subject.size_bytes,
        accuracy=accuracy.value if accuracy else None,
        drop_points=round(100 * (reference.value - accuracy.value), 6) if accuracy and reference else None,
        energy_mj=energy,
        energy_reason="" if energy is not None else reason,
        macs=record.subject.macs,
        verdict=record.quality.verdict,
        reasons=record.quality.reasons,
        runs=latency.n,
    )
