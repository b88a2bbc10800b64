"""Bringing a graph to another operator set, up or down, with onnx's converter and what it gets wrong put right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import onnx
from onnx import helper, version_converter

from edgecnn.errors import UnsupportedOp, first_line
from edgecnn.exporters.foreign.operators import node_label
from edgecnn.exporters.foreign.source import opset_of

T = TypeVar("T")

# Smaller ones stay in the graph, for the converter reads axes, sizes and scales; no weight that is larger is of these.
_HELD_BYTES = 4096

# Upsample and Resize up to operator set 10 place pixel i at i / scale and round down; Resize from 11 on has a choice and
# another default (onnx/docs/Changelog.md, Resize-11).
_OLD_RESIZE = 10
_OLD_RESIZE_MODES = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

_HELD_IR = 4
"""From this version of the format on, an initialiser need not be an input."""


def upgrade(proto: onnx.ModelProto, opset: int, where: str) -> onnx.ModelProto:
    """Return the model in another operator set; the argument may be changed.

    Args:
        proto: cleaned model.
        opset: operator set of the result.
        where: what the model is called in messages.

    Raises:
        UnsupportedOp: an operator has no such form; it is named with its node and operator set.
    """
    found = opset_of(proto)
    proto.ir_version = max(proto.ir_version, _HELD_IR)
    _only_default_domain(proto)
    if found == opset:
        return proto
    resized = _resized(proto.graph) if found <= _OLD_RESIZE < opset else frozenset()
    try:
        converted = without_weights(proto, lambda light: version_converter.convert_version(light, opset))
    except Exception as error:
        raise _refusal(error, proto, opset, where) from error
    for node in converted.graph.node:
        if node.op_type == "Resize" and node.output[0] in resized:
            _set_old_modes(node)
    return converted


def without_weights(proto: onnx.ModelProto, work: Callable[[onnx.ModelProto], onnx.ModelProto]) -> onnx.ModelProto:
    """Return what some work makes of a model that has no large weights in it, the weights put back.

    Large weights are inputs meanwhile: what is done in C++ copies the model several times.
    """
    graph = proto.graph
    held = [one for one in graph.initializer if one.ByteSize() > _HELD_BYTES]
    names = {one.name for one in held}
    light = onnx.ModelProto()
    light.CopyFrom(_outline(proto, names))
    light.graph.input.extend(helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in held)
    done = work(light)
    inputs = [one for one in done.graph.input if one.name not in names]
    del done.graph.input[:]
    done.graph.input.extend(inputs)
    done.graph.initializer.extend(held)
    return done


def _outline(proto: onnx.ModelProto, without: set[str]) -> onnx.ModelProto:
    """Return a copy of the model without some of its initialisers."""
    outline = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    graph = proto.graph
    outline.graph.name = graph.name
    outline.graph.node.extend(graph.node)
    outline.graph.input.extend(graph.input)
    outline.graph.output.extend(graph.output)
    outline.graph.initializer.extend(one for one in graph.initializer if one.name not in without)
    return outline


def _only_default_domain(proto: onnx.ModelProto) -> None:
    kept = [one for one in proto.opset_import if one.domain in ("", "ai.onnx")]
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", kept[0].version))


def _resized(graph: onnx.GraphProto) -> frozenset[str]:
    return frozenset(node.output[0] for node in graph.node if node.op_type in ("Upsample", "Resize"))


def _set_old_modes(node: onnx.NodeProto) -> None:
    kept = [one for one in node.attribute if one.name not in _OLD_RESIZE_MODES]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in _OLD_RESIZE_MODES.items())


def _refusal(error: Exception, proto: onnx.ModelProto, opset: int, where: str) -> UnsupportedOp:
    """Turn what the converter says into an error that names the node."""
    found = opset_of(proto)
    named = {*re.findall(r"\w+", str(error).rpartition("failed:")[2])}
    node = next((one for one in proto.graph.node if one.op_type in named), None)
    if node is None:
        return UnsupportedOp(f"{where} cannot be brought from operator set {found} to {opset}: {first_line(error)}")
    return UnsupportedOp(
        f"{where}: node {node_label(node)} cannot be brought from operator set {found} to {opset}",
        "choose another --opset" if found > opset else "export it again in a newer operator set",
    )
