"""What can be asked of the quantizer, and for which target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgecnn.errors import BadInput, Contradiction, UnknownName

Target = Literal["cpu-x86"]
Method = Literal["minmax", "percentile", "mse"]

TARGETS: tuple[str, ...] = get_args(Target)
"""What a file can be quantized for; engines disagree on which graphs they run in int8.

"cpu-x86": uint8 activations with zero point, int8 weights, Q/DQ on every edge between quantized nodes: the form that ONNX
Runtime fuses completely on x86-64, and on 64-bit Arm as well.
"""

METHODS: tuple[str, ...] = get_args(Method)
"""How the range of an activation is chosen, see `edgecnn.exporters.quantize.ranges`."""

INT8_MAX = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeConfig:
    """How a model is quantized.

    Attributes:
        target: what the file is for.
        calibration_images: how many images activations are observed on, spread evenly over the set; None takes all.
        method: "minmax" keeps everything that was seen, "percentile" cuts the rarest values off, "mse" takes the range with
            the least mean squared error.
        percentile: share of the values that stays inside the range, percent; for method "percentile" only.
        per_channel: one weight scale per output channel instead of one per layer.
        reduce_range: 7-bit weights, for x86 CPUs without VNNI, whose 8-bit products saturate.
        min_channels: convolutions of more than one pixel with fewer output channels stay float, as there is no fast int8
            kernel for them; 1 quantizes all.
        max_drop: top-1 accuracy that may be lost, percentage points; None accepts any loss.
    """

    target: Target = "cpu-x86"
    calibration_images: int | None = 512
    method: Method = "minmax"
    percentile: float | None = None
    per_channel: bool = True
    reduce_range: bool = False
    min_channels: int = 16
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise UnknownName("quantization target", self.target, TARGETS)
        if self.method not in METHODS:
            raise UnknownName("calibration method", self.method, METHODS)
        if self.calibration_images is not None and self.calibration_images < 1:
            raise BadInput("calibration images", expected="at least 1", got=str(self.calibration_images))
        if self.percentile is not None and self.method != "percentile":
            raise Contradiction(
                f"a percentile was given for method {self.method}", 'set method="percentile", or leave percentile None'
            )
        if self.percentile is not None and not 50 < self.percentile <= 100:
            raise BadInput("percentile", expected="above 50 and at most 100", got=str(self.percentile))
        if self.min_channels < 1:
            raise BadInput("min channels", expected="at least 1", got=str(self.min_channels))
        if self.max_drop is not None and not self.max_drop >= 0:
            raise BadInput("max drop", expected="percentage points, at least 0", got=str(self.max_drop))

    @property
    def weight_limit(self) -> int:
        """Greatest magnitude of a quantized weight; symmetric, so that -128 is not used."""
        return INT8_MAX // 2 if self.reduce_range else INT8_MAX
