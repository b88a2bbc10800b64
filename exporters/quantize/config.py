"""What can be asked of the quantizer, and for which target."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.exporters.targets import DEFAULT_TARGET, TARGETS, Form, Target, combine, parse_targets
from edgecnn.specs import Precision, Scalar

__all__ = ["INT8_MAX", "METHODS", "TARGETS", "Method", "QuantizeConfig"]

Method = Literal["minmax", "moving-average", "percentile", "entropy", "mse"]

METHODS: tuple[str, ...] = get_args(Method)
"""How the range of an activation is chosen, see `edgecnn.exporters.quantize.methods`."""

INT8_MAX = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeConfig:
    """How a model is quantized.

    Attributes:
        target: what the file is for, one or several names of `edgecnn.exporters.targets` with commas between.
        precision: of the file that is written, "int8", "fp16" or "bf16".
        calibration_images: how many images activations are observed on, spread evenly over the set; None takes all.
        method: "minmax" keeps everything that was seen, "moving-average" the average of the extremes of groups of images,
            "percentile" cuts the rarest values off, "entropy" loses the least information (TensorRT's), "mse" takes the
            range with the least mean squared error.
        percentile: share of the values that stays inside the range, percent; for method "percentile" only.
        per_channel: one weight scale per output channel instead of one per layer.
        reduce_range: 7-bit weights, for x86 CPUs without VNNI, whose 8-bit products saturate.
        min_channels: convolutions of more than one pixel with fewer output channels stay float, as there is no fast int8
            kernel for them; 1 quantizes all, None takes what the target says.
        max_drop: top-1 accuracy that may be lost, percentage points; None accepts any loss.
        keep_float: names of nodes that stay float.
        without_passes: names of rewrites that do not run, see `edgecnn.exporters.passes.catalog`.
    """

    target: str = DEFAULT_TARGET
    precision: Precision = "int8"
    calibration_images: int | None = 512
    method: Method = "minmax"
    percentile: float | None = None
    per_channel: bool = True
    reduce_range: bool = False
    min_channels: int | None = None
    max_drop: float | None = None
    keep_float: tuple[str, ...] = ()
    without_passes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_targets()
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
        if self.min_channels is not None and self.min_channels < 1:
            raise BadInput("min channels", expected="at least 1", got=str(self.min_channels))
        if self.max_drop is not None and not self.max_drop >= 0:
            raise BadInput("max drop", expected="percentage points, at least 0", got=str(self.max_drop))

    def _check_targets(self) -> None:
        if self.precision == "fp32":
            raise BadInput("precision", expected="int8, fp16 or bf16", got=self.precision)
        if self.precision == "int8":
            combine(self.targets)
        for target in self.targets:
            target.require(self.precision)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the file is for."""
        return parse_targets(self.target)

    @property
    def form(self) -> Form:
        """The form that suits all targets."""
        return combine(self.targets)

    def options(self) -> dict[str, Scalar]:
        """Return the configuration as a lineage holds it: several names are one string with commas between."""
        return {
            **{key: ",".join(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()},
            "target": ",".join(target.name for target in self.targets),
        }

    @property
    def weight_limit(self) -> int:
        """Greatest magnitude of a quantized weight; symmetric, so that -128 is not used."""
        return INT8_MAX // 2 if self.reduce_range else INT8_MAX
