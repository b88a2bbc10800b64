"""From an fp32 file to one with 16-bit weights and activations; see `edgecnn.exporters.halfprecision.convert`."""

from __future__ import annotations

from edgecnn.exporters.halfprecision.convert import convert_precision
from edgecnn.exporters.halfprecision.result import HalfResult

__all__ = ["HalfResult", "convert_precision"]
