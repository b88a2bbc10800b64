"""What TensorRT would compute wrongly or refuse in its own words: checked in the file, before its parser sees it.

TensorRT quantizes to signed integers around zero. Its ONNX parser takes uint8 and missing zero points for int8 and says
nothing, so that values of 128 to 255 become 127: a file with such nodes parses, builds, runs and answers wrongly.
(Tried with the parser of TensorRT for RTX 1.7; each case is a test.) The other cases are errors of the parser or the
builder, named here with their nodes and with what mends the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.onnxmodel.graph import OnnxConstant, OnnxNode, read_graph

HINT = "edgecnn quantize FLOAT_MODEL.onnx --target trt writes a file that TensorRT computes rightly"

# How many kinds of problems a message has, and how many nodes of each.
_REASONS = 3
_NAMED = 2

# Operators that compute on integers themselves, or take their scales from the data.
_INTEGER_OPS = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm", "DynamicQuantizeMatMul"})

# Types of zero points that are left to the parser: TensorRT has them, on GPUs that have them.
_LEFT_TO_THE_PARSER = frozenset({"type 17", "type 22"})  # float8e4m3fn, int4


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProblem:
    """A node that TensorRT cannot take or would compute wrongly.

    Attributes:
        node: its name.
        op_type: its operator.
        reason: what is wrong with it.
    """

    node: str
    op_type: str
    reason: str


def check_quantization(path: Path) -> None:
    """Return if TensorRT computes the quantized nodes of an .onnx file as the ONNX specification has them.

    Raises:
        BadInput: it does not; the message names the first nodes of each kind. Or the file is no ONNX model.
    """
    problems = quantization_problems(path)
    if problems:
        raise BadInput(f"{path} is not quantized for TensorRT: {_in_words(problems)}", HINT)


def quantization_problems(path: Path) -> tuple[NodeProblem, ...]:
    """Return the nodes that TensorRT refuses or computes wrongly, in the file's order.

    Raises:
        BadInput: the file is no ONNX model.
    """
    graph = read_graph(path)
    return tuple(
        NodeProblem(node=node.name, op_type=node.op_type, reason=reason)
        for node in graph.nodes
        for reason in _reasons(node, graph.constants)
    )


def _reasons(node: OnnxNode, constants: Mapping[str, OnnxConstant]) -> Iterator[str]:
    if node.op_type.startswith("QLinear") or node.op_type in _INTEGER_OPS:
        yield "an operator on integers; TensorRT takes QuantizeLinear and DequantizeLinear around one on floats"
    elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        reason = _zero_point(node, constants)
        if reason:
            yield reason
        reason = _scale(node, constants)
        if reason:
            yield reason


def _zero_point(node: OnnxNode, constants: Mapping[str, OnnxConstant]) -> str:
    """Return what is wrong with a node's zero point, "" for nothing."""
    source = constants.get(node.inputs[0]) if node.inputs else None
    if node.op_type == "DequantizeLinear" and source is not None and source.dtype == "int32":
        return "int32, the bias of a file for processors; TensorRT takes the bias in float"
    if len(node.inputs) < 3 or not node.inputs[2]:
        return "no zero point, which means uint8; TensorRT takes it for int8 and says nothing"
    constant = constants.get(node.inputs[2])
    if constant is None:
        return "a zero point that is computed at run time"
    if constant.dtype in _LEFT_TO_THE_PARSER:
        return ""
    if constant.dtype == "uint8" and constant.values is not None and not np.any(constant.values):
        return "uint8; TensorRT takes it for int8, cuts 128..255 down to 127 and says nothing"
    if constant.dtype != "int8":
        return f"{constant.dtype} instead of int8"
    if constant.values is None:
        return "a zero point that cannot be read"
    wrong = np.flatnonzero(constant.values)
    if not len(wrong):
        return ""
    where = f" of channel {wrong[0]}" if constant.values.size > 1 else ""
    return f"zero point {int(constant.values[wrong[0]])}{where} instead of 0"


def _scale(node: OnnxNode, constants: Mapping[str, OnnxConstant]) -> str:
    """Return what is wrong with a node's scale, "" for nothing; one that is no constant is left to the parser."""
    constant = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if constant is None or constant.values is None:
        return ""
    values = constant.values.astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if not len(wrong):
        return ""
    where = f" in channel {wrong[0]}" if values.size > 1 else ""
    return f"scale {values[wrong[0]]:g}{where} instead of one above 0"


def _in_words(problems: tuple[NodeProblem, ...]) -> str:
    """Return the problems by reason, each with the first nodes that have it."""
    by_reason: dict[str, list[str]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(f"{problem.node} ({problem.op_type})")
    words = []
    for reason, nodes in list(by_reason.items())[:_REASONS]:
        more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
        words.append(f"{', '.join(nodes[:_NAMED])}{more}: {reason}")
    rest = len(by_reason) - _REASONS
    return "; ".join(words) + (f"; and {rest} other problems" if rest > 0 else "")
