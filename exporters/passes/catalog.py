"""Every pass by its name, for switches and for the lineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from edgecnn.errors import UnknownName
from edgecnn.exporters.passes import DEFAULT_PASSES
from edgecnn.exporters.passes.align_channels import AlignChannels
from edgecnn.exporters.passes.align_depthwise import AlignDepthwise
from edgecnn.exporters.passes.average_to_conv import AverageToConv
from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.bytes_between import ClipInInt8, ShiftInInt8
from edgecnn.exporters.passes.centre_pixels import CentrePixels
from edgecnn.exporters.passes.expand_response_norm import ExpandResponseNorm
from edgecnn.exporters.passes.fold_hard_sigmoid import FoldHardSigmoid
from edgecnn.exporters.passes.fold_norm_forward import FoldNormForward
from edgecnn.exporters.passes.fold_shuffle import FoldShuffle
from edgecnn.exporters.passes.gather_hard_swish import GatherHardSwish
from edgecnn.exporters.passes.group_pixels import GroupPixels
from edgecnn.exporters.passes.heads import AddArgmax, AddSoftmax, DropSoftmax
from edgecnn.exporters.passes.norm_to_conv import NormToConv
from edgecnn.exporters.passes.pad_in_int8 import PadInInt8
from edgecnn.exporters.passes.read_bytes import ReadBytes
from edgecnn.exporters.passes.split_hard_swish import SplitHardSwish
from edgecnn.exporters.passes.widen_groups import WidenGroups

INT8_PASSES: tuple[Pass, ...] = (
    FoldNormForward(),
    NormToConv(),
    AverageToConv(),
    GatherHardSwish(),
    FoldHardSigmoid(),
    SplitHardSwish(),
    FoldShuffle(),
    WidenGroups(),
    AlignDepthwise(),
    ExpandResponseNorm(),
)
"""What prepares an fp32 graph for int8 engines, in the order in which it runs."""

INT8_NAMES: tuple[str, ...] = tuple(step.name for step in INT8_PASSES)

BYTE_PASSES: tuple[Pass, ...] = (ShiftInInt8(), PadInInt8(), ClipInInt8(), AlignChannels())
"""What the quantizer runs on a graph whose quantizers stand on every edge, in that order; the last for some targets."""

PIXEL_PASSES: tuple[Pass, ...] = (CentrePixels(), ReadBytes(), GroupPixels())
"""What lets an int8 graph start with the bytes of an image: the first before it is quantized, the others when all else is
done."""

HEAD_PASSES: tuple[Pass, ...] = (DropSoftmax(), AddSoftmax(), AddArgmax())
"""What changes the output, and runs only when asked for."""

PASSES: Mapping[str, Pass] = MappingProxyType(
    {step.name: step for step in (*DEFAULT_PASSES, *INT8_PASSES, *BYTE_PASSES, *PIXEL_PASSES, *HEAD_PASSES)}
)
"""Every pass by name."""


def check_pass_names(names: Iterable[str]) -> None:
    """Raise UnknownName for the first name that is not that of a pass."""
    for name in names:
        if name not in PASSES:
            raise UnknownName("pass", name, PASSES)
