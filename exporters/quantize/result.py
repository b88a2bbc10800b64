"""What came of a quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecnn.exporters.quantize.checks import drop_points
from edgecnn.exporters.quantize.recipe import Recipe, SearchReport
from edgecnn.specs import Accuracy, Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """What came of a quantization.

    Attributes:
        artifact: the int8 file.
        fp32: accuracy of the source, None where it was not measured.
        int8: accuracy of the int8 file, None where it was not measured.
        not_measured: why not, empty where it was.
        quantized: operator -> nodes of the fp32 graph that run in int8, activations within a quantizer among them.
        left_float: operator -> nodes that stay float.
        float_between: operator -> those of them on the way from one int8 node to another: values are converted before and
            behind.
        int8_share: share of the multiply-adds that run in int8, 0..1; None where the graph does not say how many there are.
        recipe: how the file was made.
        passes: rewrites that changed the graph before it was quantized.
        constant: nodes whose result never changed on the calibration images; it is held exactly.
        ranges_from_cache: whether no calibration was needed.
        search: what was tried to hold the bound, None without one.
        time_ratio: time of the int8 file over that of the fp32 file on this machine; None where it was not asked for, or this
            is no machine of the target's kind, or a search says it.
    """

    artifact: Artifact
    fp32: Accuracy | None = None
    int8: Accuracy | None = None
    not_measured: str = ""
    quantized: Mapping[str, int] = field(default_factory=dict)
    left_float: Mapping[str, int] = field(default_factory=dict)
    float_between: Mapping[str, int] = field(default_factory=dict)
    int8_share: float | None = None
    recipe: Recipe | None = None
    passes: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    ranges_from_cache: bool = False
    search: SearchReport | None = None
    time_ratio: float | None = None

    @property
    def drop(self) -> float | None:
        """Top-1 accuracy that was lost, percentage points; negative for a gain; None where it was not measured."""
        return None if self.fp32 is None or self.int8 is None else round(drop_points(self.fp32, self.int8), 6)
