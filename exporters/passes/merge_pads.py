"""A Pad with zeros before a convolution becomes the convolution's own padding."""

from __future__ import annotations

import onnx_ir as ir

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import attribute, bypass, constant, dimensions, is_op

_IMAGE_AXIS = 2


class MergePads(Pass):
    """Takes zeros around the image into the convolutions that read it, as exporters of other frameworks write them apart.

    Requires: a constant Pad of zeros, nowhere negative, at height and width only, and readers that are all Conv with stated
    padding. Ensures: such a node is gone.
    """

    name = "merge-pads"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        return sum(_merge(node) for node in tuple(model.graph) if is_op(node, "Pad")) > 0


def _merge(pad: ir.Node) -> bool:
    amounts, result = _zeros_around(pad), pad.outputs[0]
    readers = [use.node for use in result.uses()]
    if amounts is None or not readers or result.is_graph_output():
        return False
    if not all(_can_take(reader, result, len(amounts)) for reader in readers):
        return False
    for reader in readers:
        own = attribute(reader, "pads", (0,) * len(amounts))
        total = [one + other for one, other in zip(own, amounts, strict=True)]
        reader.attributes.add(ir.AttrInt64s("pads", total))
        reader.attributes.pop("auto_pad", None)
    return bypass(pad)


def _can_take(layer: ir.Node, source: ir.Value, count: int) -> bool:
    stated = attribute(layer, "auto_pad", "NOTSET")
    own = attribute(layer, "pads", (0,) * count)
    if not is_op(layer, "Conv") or layer.inputs[0] is not source or len(own) != count:
        return False
    return stated == "NOTSET" or (stated == "VALID" and not any(own))


def _zeros_around(pad: ir.Node) -> tuple[int, ...] | None:
    """Return how many zeros a Pad puts before and after each spatial dimension, as Conv counts them; None if not only that."""
    shape = dimensions(pad.inputs[0])
    if shape is None or attribute(pad, "mode", "constant") != "constant":
        return None
    amounts = _amounts(pad)
    rank = len(shape)
    if amounts is None or len(amounts) != 2 * rank or min(amounts) < 0 or not _fills_with_zero(pad):
        return None
    before, after = amounts[:rank], amounts[rank:]
    if any(before[:_IMAGE_AXIS]) or any(after[:_IMAGE_AXIS]):
        return None
    return (*before[_IMAGE_AXIS:], *after[_IMAGE_AXIS:])


def _amounts(pad: ir.Node) -> tuple[int, ...] | None:
    """Return the constant amounts; an attribute before operator set 11, an input from there on."""
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        return None
    if len(pad.inputs) > 1:
        found = constant(pad.inputs[1])
        return None if found is None else tuple(int(amount) for amount in found)
    return attribute(pad, "pads", ())


def _fills_with_zero(pad: ir.Node) -> bool:
    if len(pad.inputs) > 2 and pad.inputs[2] is not None:
        value = constant(pad.inputs[2])
        return value is not None and float(value.reshape(())) == 0.0
    return attribute(pad, "value", 0.0) == 0.0
