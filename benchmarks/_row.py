"""One network of benchmarks/int8.py: its times, their ratios, and what is concluded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Ratios of clock times and of processor times, or median and tenth percentile, further apart than this: other programs
# decided the former.
_FAR = 1.1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network; times are medians in ms, None where there was none.

    Attributes:
        fp32_ms: onnxruntime.
        cpu_ms: our int8 file on backend cpu.
        openvino_ms: our int8 file for openvino on backend openvino.
        nncf_ms: NNCF's int8 on OpenVINO.
        quiet_ms: engine -> tenth percentile of its runs.
        processor_ms: engine -> median of the processor time of its runs, as opposed to the clock's.
        bound: of cpu_ms over fp32_ms, None where bounds do not apply.
        failed: engine -> why it gave no time.
    """

    network: str
    fp32_ms: float | None
    cpu_ms: float | None
    openvino_ms: float | None
    nncf_ms: float | None
    quiet_ms: Mapping[str, float]
    processor_ms: Mapping[str, float]
    bound: float | None
    failed: Mapping[str, str]

    @property
    def ratio(self) -> float | None:
        """int8 over fp32 on backend cpu."""
        return over(self.cpu_ms, self.fp32_ms)

    @property
    def quiet_ratio(self) -> float | None:
        """The same of the tenth percentiles."""
        return over(self.quiet_ms.get("cpu"), self.quiet_ms.get("fp32"))

    @property
    def verdict(self) -> str:
        """Whether the bound holds; without one, or without a time, why not."""
        if self.ratio is None:
            return "failed"
        if self.bound is None:
            return "no bound"
        own = over(self.processor_ms.get("cpu"), self.processor_ms.get("fp32")) or self.ratio
        if not 1 / _FAR < self.ratio / own < _FAR:
            return "disturbed"
        if self.ratio <= self.bound:
            return "held"
        return "disturbed" if self._may_hold(self.bound) else "missed"

    def _may_hold(self, bound: float) -> bool:
        """Tell whether the quiet runs hold a bound, and the others are far from these."""
        spread = over(self.cpu_ms, self.quiet_ms.get("cpu")) or 1.0
        return self.quiet_ratio is not None and self.quiet_ratio <= bound and spread > _FAR


def figures(row: Row) -> dict[str, float | None]:
    """Return every ratio of a row by its key in JSON."""
    own = row.processor_ms
    return {
        "ratio": row.ratio,
        "quiet_ratio": row.quiet_ratio,
        "openvino_ratio": over(row.openvino_ms, row.fp32_ms),
        "nncf_ratio": over(row.nncf_ms, row.fp32_ms),
        "openvino_over_nncf": over(row.openvino_ms, row.nncf_ms),
        "cpu_over_nncf": over(row.cpu_ms, row.nncf_ms),
        "processor_ratio": over(own.get("cpu"), own.get("fp32")),
        "processor_openvino_ratio": over(own.get("openvino"), own.get("fp32")),
        "processor_nncf_ratio": over(own.get("nncf"), own.get("fp32")),
        "processor_openvino_over_nncf": over(own.get("openvino"), own.get("nncf")),
        "processor_cpu_over_nncf": over(own.get("cpu"), own.get("nncf")),
    }


def over(one: float | None, other: float | None) -> float | None:
    """Return a ratio, None where one of its sides is not there."""
    return None if one is None or other is None else one / other
