"""Which operators of a foreign file cannot be handled, and why."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgecnn.errors import QuantizeError, UnsupportedOp
from edgecnn.exporters.foreign.source import opset_of

_REASONS: dict[str, tuple[str, ...]] = {
    "control flow, which engines for edge devices do not run as one graph": ("If", "Loop", "Scan", "SequenceMap"),
    "a sequence or optional value": (
        "ConcatFromSequence",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
    ),
    "random: its answers differ from run to run": (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ),
    "of a size that depends on the values": ("Compress", "NonMaxSuppression", "NonZero", "Unique"),
    "about text": ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
}
_REASON = {name: reason for reason, names in _REASONS.items() for name in names}

_QUANTIZED = ("ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QuantizeLinear")

_LISTED = 3


def check_operators(proto: onnx.ModelProto, where: str) -> None:
    """Raise UnsupportedOp, with node, operator set and reason, if a node cannot be handled.

    Raises:
        QuantizeError: the file is int8 already.
        UnsupportedOp: the first three of the nodes are named.
    """
    opset = opset_of(proto)
    quantized = next((node for node in proto.graph.node if node.op_type in _QUANTIZED), None)
    if quantized is not None:
        raise QuantizeError(
            f"{where} is quantized already: node {node_label(quantized)}",
            "give the fp32 file that it was made from, then edgecnn quantize",
        )
    bad = [f"node {node_label(node)} {why}" for node, why in _bad_nodes(proto.graph, opset)]
    if bad:
        more = f"; and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise UnsupportedOp(f"{where}: {'; '.join(bad[:_LISTED])}{more}", "export the network without them")


def node_label(node: onnx.NodeProto) -> str:
    """Return how a node is called in messages: its name, or its first output, and its operator."""
    name = node.name or next(iter(node.output), "")
    return f"{name!r} ({node.domain + '.' if node.domain not in ('', 'ai.onnx') else ''}{node.op_type})"


def _bad_nodes(graph: onnx.GraphProto, opset: int) -> Iterator[tuple[onnx.NodeProto, str]]:
    constants = {one.name: one for one in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        why = _why_not(node, opset) or _why_training(node, constants)
        if why:
            yield node, why


def _why_not(node: onnx.NodeProto, opset: int) -> str:
    if node.domain not in ("", "ai.onnx"):
        return f"is of the domain {node.domain}, not of ONNX itself"
    if node.op_type in _REASON:
        return f"of operator set {opset} is {_REASON[node.op_type]}"
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return f"of operator set {opset} is control flow"
    try:
        onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return f"is not in operator set {opset}"
    return ""


def _why_training(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> str:
    values = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "BatchNormalization" and not values.get("spatial", 1):
        return "normalises every pixel by itself (spatial 0), which no newer operator set has"
    if node.op_type == "BatchNormalization" and values.get("training_mode", 0):
        return "is in training mode"
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        switch = constants.get(node.input[2])
        if switch is None or onnx.numpy_helper.to_array(switch).any():
            return "is, or can be switched to, training mode"
    return ""
