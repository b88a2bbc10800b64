"""Constant nodes become initialisers, so that weights are found in one place."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from edgecnn.exporters.passes.base import Pass


class LiftConstants(Pass):
    """Turns every Constant node that is not itself an output of the model into an initialiser of the same name."""

    name = "lift-constants"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified
