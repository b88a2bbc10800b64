"""The rewrites that make an fp32 graph cheaper in int8, while it still computes the same in fp32."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from edgecnn.exporters.passes import DropUnused, run_passes
from edgecnn.exporters.passes.catalog import INT8_PASSES, check_pass_names


def prepare_for_int8(model: ir.Model, *, wanted: Sequence[str], off: Collection[str] = ()) -> tuple[str, ...]:
    """Run the int8 rewrites that a target wants, in place, and return the names of those that changed something.

    Args:
        model: an fp32 graph that went through `edgecnn.exporters.passes.DEFAULT_PASSES`.
        wanted: names of the passes that the target gains by; their order does not matter.
        off: names of passes that are not to run all the same.

    Raises:
        UnknownName: no pass has one of these names.
        ExportError: the model is not well formed, or a pass broke it.
    """
    check_pass_names((*wanted, *off))
    changed = run_passes(model, [step for step in INT8_PASSES if step.name in wanted and step.name not in off])
    DropUnused()(model)
    return changed
