"""What OpenVINO cannot compile, found in the graph before it tries: the process would be gone without a word.

Its low-precision pass MoveFakeQuantize lifts a quantizer over the Concat in front of it. Where the dequantization behind,
with a zero point, has only pointwise operations up to the next quantizer, that dequantization is no longer what the pass
expects, and it follows a null pointer (seen in 2026.4.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Operations between the two quantizers with which the pass fails; with a pooling or a convolution there it does not.
_POINTWISE = frozenset({"Relu", "PRelu", "Clamp", "BatchNormInference", "Multiply", "Add", "Subtract"})

_QUANTIZER = "FakeQuantize"


def crashing_concat(model: Any) -> str | None:
    """Return the name of a Concat whose quantizer the engine fails on, None if there is none.

    Args:
        model: openvino.Model as read from an ONNX file.
    """
    for node in model.get_ops():
        if node.get_type_name() == "Concat" and _fails(node):
            return str(node.get_friendly_name())
    return None


def _fails(concat: Any) -> bool:
    quantizer = _reader(concat)
    if quantizer is not None and quantizer.get_type_name() == "Relu":
        quantizer = _reader(quantizer)
    if quantizer is None or quantizer.get_type_name() != _QUANTIZER:
        return False
    shift = _reader(quantizer)
    while shift is not None and shift.get_type_name() == "Convert":
        shift = _reader(shift)
    if shift is None or shift.get_type_name() != "Subtract" or not _is_shift(shift):
        return False
    node = _reader(shift)
    while node is not None and node.get_type_name() in _POINTWISE:
        node = _reader(node)
    return node is not None and node.get_type_name() == _QUANTIZER


def _reader(node: Any) -> Any | None:
    """Return the one operation that reads a node's result, None where there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None


def _is_shift(subtract: Any) -> bool:
    """Tell whether a subtraction takes off a zero point other than 0; one that cannot be told counts."""
    node = subtract.input_value(1).get_node()
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return node.get_type_name() != "Constant" or bool(np.any(node.get_data()))
