"""What was found to quantize in a graph, and which tensors share a scale by the structure of the graph alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgecnn.exporters.passes.values import is_op, only_use
from edgecnn.exporters.quantize.operators import BOUNDING, CARRYING, constant_operands, data_inputs
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.targets import Form

Use = tuple[ir.Node, int]
"""A node and which of its inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is quantized.

    Attributes:
        form: of the int8 file.
        nodes: quantized nodes in graph order.
        absorbed: Relu and Clip nodes that vanish into the quantizer behind them, in graph order.
        tensors: tensors that get a quantizer, in graph order.
        scale_of: tensor -> the tensor whose observed range decides its scale, possibly itself.
        reads: tensor -> who reads its dequantized form; others go on reading the float tensor.
        given: tensors whose dequantized form the model's caller gets in their place.
        clips: tensor -> what an activation that vanished behind it lets through.
        holds: tensor -> which values it can hold at all.
    """

    form: Form
    nodes: tuple[ir.Node, ...]
    absorbed: tuple[ir.Node, ...]
    tensors: tuple[ir.Value, ...]
    scale_of: Mapping[ir.Value, ir.Value]
    reads: Mapping[ir.Value, tuple[Use, ...]]
    given: Collection[ir.Value]
    clips: Mapping[ir.Value, Range]
    holds: Mapping[ir.Value, Range]

    @property
    def observed(self) -> tuple[ir.Value, ...]:
        """The tensors whose range must be known, in graph order."""
        return tuple(dict.fromkeys(self.scale_of[value] for value in self.tensors))

    @property
    def constants(self) -> tuple[ir.Value, ...]:
        """The constants of sums and products, which are quantized by their own range."""
        return tuple(dict.fromkeys(value for node in self.nodes for value in constant_operands(node)))


def share_scales(
    nodes: Iterable[ir.Node],
    tensors: Iterable[ir.Value],
    *,
    result_of: Callable[[ir.Node], ir.Value],
    clips: Mapping[ir.Value, Range],
    holds: Mapping[ir.Value, Range],
) -> dict[ir.Value, ir.Value]:
    """Return tensor -> the tensor whose range decides its scale.

    What only moves values keeps their scale. What nothing but a concatenation reads takes the scale of that: its values are
    rounded to it there anyway, and then they are copied as bytes.

    Args:
        nodes: quantized nodes in graph order.
        tensors: that get a quantizer.
        result_of: quantized node -> the tensor that it gives.
        clips: tensor -> what an activation that vanished behind it lets through.
        holds: tensor -> which values it can hold.
    """
    scale_of = {value: value for value in tensors}
    for node in nodes:
        result = result_of(node)
        if is_op(node, BOUNDING, *CARRYING) and result is node.outputs[0]:
            scale_of[result] = scale_of[data_inputs(node)[0]]
        elif is_op(node, "Concat", *CARRYING):
            for value in data_inputs(node):
                group = [member for member, decider in scale_of.items() if decider is scale_of[value]]
                if all(only_use(member) is not None and may_clip(member, result, clips, holds) for member in group):
                    scale_of.update(dict.fromkeys(group, result))
    return scale_of


def may_clip(
    member: ir.Value, result: ir.Value, clips: Mapping[ir.Value, Range], holds: Mapping[ir.Value, Range]
) -> bool:
    """Tell whether a tensor's quantizer may take the range of a result that the tensor ends up in.

    An activation that vanished behind the tensor must let through all that the result can hold: the result's range is what
    the tensor's quantizer will clip to.
    """
    return member not in clips or holds[result].lies_in(clips[member])
