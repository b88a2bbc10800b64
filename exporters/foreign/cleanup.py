"""What old exporters leave in a file and today's engines refuse: legacy attributes, weights as inputs, nameless nodes."""

from __future__ import annotations

import onnx
from onnx.inliner import inline_local_functions

from edgecnn.exporters.foreign.source import opset_of

# Attributes of operator sets before 7 that exporters went on writing; none changes what a node computes at inference.
# BatchNormalization's `spatial` 1 is the only form that operator sets from 9 on have.
_LEGACY = {
    "BatchNormalization": ("is_test", "mode", "spatial"),
    "Dropout": ("is_test", "mode", "training_mode"),
}
_LEGACY_ANYWHERE = ("consumed_inputs",)
# A default that is written out is dropped, too, where newer operator sets have no such attribute.
_DROPPED = {"BatchNormalization": ("spatial",)}


def clean(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without what no engine needs; it computes the same. The argument may be changed.

    1. Functions that the file defines are written out.
    2. Attributes that its operator set does not have, and had once, go.
    3. Initialisers are no inputs, and training outputs that nothing reads are gone.
    4. Every node has a name of its own; documentation, shapes noted by others and training graphs go.
    """
    if proto.functions:
        proto = inline_local_functions(proto)
    opset = opset_of(proto)
    for node in proto.graph.node:
        _drop_legacy(node, opset)
    _drop_weight_inputs(proto.graph)
    _drop_spare_outputs(proto.graph)
    _name_nodes(proto.graph)
    del proto.training_info[:]
    del proto.graph.value_info[:]
    proto.graph.doc_string = proto.doc_string = ""
    proto.graph.name = proto.graph.name or "network"
    return proto


def _drop_legacy(node: onnx.NodeProto, opset: int) -> None:
    known = _known_attributes(node.op_type, opset)
    candidates = (*_LEGACY.get(node.op_type, ()), *_LEGACY_ANYWHERE)
    gone = {name for name in candidates if known is not None and name not in known}
    gone |= {name for name in _DROPPED.get(node.op_type, ()) if name in (known or ())}
    kept = [one for one in node.attribute if one.name not in gone or (one.name == "spatial" and one.i == 0)]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _known_attributes(op_type: str, opset: int) -> frozenset[str] | None:
    try:
        return frozenset(onnx.defs.get_schema(op_type, opset, "").attributes)
    except onnx.defs.SchemaError:
        return None


def _drop_weight_inputs(graph: onnx.GraphProto) -> None:
    weights = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _drop_spare_outputs(graph: onnx.GraphProto) -> None:
    """Remove outputs after the first of nodes that have such for training, where nothing reads them."""
    read = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
    for node in graph.node:
        if node.op_type in ("BatchNormalization", "Dropout") and not read & {*node.output[1:]}:
            del node.output[1:]


def _name_nodes(graph: onnx.GraphProto) -> None:
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = _free(f"{node.name or node.op_type}_{index}", taken)
        taken.add(node.name)
        node.doc_string = ""


def _free(wish: str, taken: set[str]) -> str:
    name = wish
    while name in taken:
        name += "_"
    return name
