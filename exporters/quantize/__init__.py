"""Static int8 quantization: an fp32 file becomes a QDQ file of about a quarter of the size.

`placement` decides what is quantized, `calibrate` observes ranges on images, `emit` writes the graph, `pipeline` does all of
it and measures what it cost in accuracy. No engine's own quantization tool is used; the result is plain ONNX.
"""

from __future__ import annotations

from edgecnn.exporters.quantize.config import METHODS, TARGETS, QuantizeConfig
from edgecnn.exporters.quantize.pipeline import quantize
from edgecnn.exporters.quantize.result import QuantizeResult

__all__ = ["METHODS", "TARGETS", "QuantizeConfig", "QuantizeResult", "quantize"]
