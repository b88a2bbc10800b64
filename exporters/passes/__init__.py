"""Exact rewrites of an ONNX graph: one per file, each usable and tested alone.

`run_passes` runs several in order. What a rewrite promises is in `edgecnn.exporters.passes.base`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.cancel_reshapes import CancelReshapes
from edgecnn.exporters.passes.drop_unused import DropUnused
from edgecnn.exporters.passes.fold_batch_norm import FoldBatchNorm
from edgecnn.exporters.passes.global_pool import GlobalPool
from edgecnn.exporters.passes.lift_constants import LiftConstants
from edgecnn.exporters.passes.merge_pads import MergePads
from edgecnn.exporters.passes.strip_traces import StripTraces

__all__ = [
    "DEFAULT_PASSES",
    "CancelReshapes",
    "DropUnused",
    "FoldBatchNorm",
    "GlobalPool",
    "LiftConstants",
    "MergePads",
    "Pass",
    "StripTraces",
    "run_passes",
]

DEFAULT_PASSES: tuple[Pass, ...] = (
    LiftConstants(),
    DropUnused(),
    CancelReshapes(),
    MergePads(),
    FoldBatchNorm(),
    GlobalPool(),
    DropUnused(),
    StripTraces(),
)
"""What every exported or imported graph goes through, in order."""


def run_passes(model: ir.Model, passes: Sequence[Pass] = DEFAULT_PASSES) -> tuple[str, ...]:
    """Run passes over a model in place and return the names of those that changed something, each once.

    Raises:
        ExportError: the model is not well formed, or a pass broke it.
    """
    changed = [step.name for step in passes if step(model)]
    return tuple(dict.fromkeys(changed))
