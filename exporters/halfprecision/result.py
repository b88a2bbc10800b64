"""What came of a conversion to 16 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecnn.exporters.compare import Difference
from edgecnn.exporters.halfprecision.blocklist import Blocked
from edgecnn.exporters.halfprecision.graph import Weights
from edgecnn.exporters.quantize.checks import drop_points
from edgecnn.specs import Accuracy, Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfResult:
    """What came of a conversion.

    Attributes:
        artifact: the 16-bit file.
        backend: what ran it, None where nothing here can.
        fp32: accuracy of the source, None where it was not measured.
        half: accuracy of the 16-bit file, None where it was not measured.
        not_measured: why not, empty where it was.
        converted: operator -> nodes that run in 16 bits.
        blocked: nodes that stay float32, with the reasons.
        half_share: share of the multiply-adds in 16 bits, 0..1; None where the graph does not say how many there are.
        parity: outputs beside those of the source on calibration images, None where nothing here runs the file.
        weights: what became of the constants.
        passes: rewrites that changed the graph.
        ranges_from_cache: whether no calibration was needed.
    """

    artifact: Artifact
    backend: str | None = None
    fp32: Accuracy | None = None
    half: Accuracy | None = None
    not_measured: str = ""
    converted: Mapping[str, int] = field(default_factory=dict)
    blocked: tuple[Blocked, ...] = ()
    half_share: float | None = None
    parity: Difference | None = None
    weights: Weights = field(default_factory=Weights)
    passes: tuple[str, ...] = ()
    ranges_from_cache: bool = False

    @property
    def drop(self) -> float | None:
        """Top-1 accuracy that was lost, percentage points; negative for a gain; None where it was not measured."""
        return None if self.fp32 is None or self.half is None else round(drop_points(self.fp32, self.half), 6)
