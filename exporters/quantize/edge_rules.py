"""Placement for engines that fuse a node whose inputs all come from dequantizers and whose output is quantized.

1. Layers with constant weights (Conv, Gemm, MatMul) are quantized wherever they stand;
2. sums, products, concatenations, averages and functions that are a table of 256 entries are quantized where all their
   inputs come in int8 anyway, or are constant, and their result is used so;
3. nodes that only carry values from place to place, or bound them from above, follow their input, and keep its scale;
4. Relu, and Clip from 0, vanish into the quantizer that follows: its range starts at 0, so that it clips by itself; behind
   nodes that only carry values, the quantizers before these clip;
5. a tensor that only a concatenation reads takes the scale of the concatenation, which then copies bytes; not a tensor whose
   quantizer must clip (4) where the concatenation may hold what is to be clipped;
6. everything else stays float, and so does the result of a Gemm or MatMul that no int8 node reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgecnn.exporters.passes.average_to_conv import averages_evenly
from edgecnn.exporters.passes.values import is_op, only_use
from edgecnn.exporters.quantize.operators import (
    BOUNDING,
    CARRYING,
    COMBINING,
    LOOKUP,
    clip_range,
    constant_operands,
    data_inputs,
    has_weights,
    only_bounds,
    only_carries,
    value_ranges,
)
from edgecnn.exporters.quantize.placed import Placement, Use, share_scales
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.exporters.targets import Form

_FLOAT_RESULT = ("Gemm", "MatMul")
_WORTH_BYTES = ("Conv", "Concat", "MaxPool")  # int8 even where only floats follow: they have fewer bytes to move


def place_on_edges(model: ir.Model, *, form: Form, keep_float: Collection[str], min_channels: int) -> Placement:
    """Return what to quantize, by the rules of this module."""
    draft = _Draft(form, frozenset(keep_float), min_channels, value_ranges(model.graph))
    for node in model.graph:
        draft.visit(node)
    for node in reversed(tuple(model.graph)):
        draft.revisit(node)
    return draft.finish(model)


@dataclass(slots=True)
class _Draft:
    """The placement while it is being found.

    Attributes:
        form: of the int8 file.
        keep_float: names of nodes that stay float.
        min_channels: of the output of a convolution that runs in int8.
        holds: which values each tensor can hold.
        quantized: nodes that run in int8.
        absorbed: activations that vanish.
        in_int8: tensors that a quantized node makes.
    """

    form: Form
    keep_float: frozenset[str]
    min_channels: int
    holds: Mapping[ir.Value, Range]
    quantized: set[ir.Node] = field(default_factory=set)
    absorbed: set[ir.Node] = field(default_factory=set)
    in_int8: set[ir.Value] = field(default_factory=set)

    def visit(self, node: ir.Node) -> None:
        """Take a node in, if its inputs allow it; called in graph order."""
        if node.name in self.keep_float:
            return
        if clip_range(node) is not None and self._follows_quantized(node):
            self.absorbed.add(node)
        elif has_weights(node, self.min_channels) or self._follows_suit(node):
            self.quantized.add(node)
        else:
            return
        self.in_int8.add(node.outputs[0])

    def revisit(self, node: ir.Node) -> None:
        """Let a node go whose result no quantized node reads, unless its bytes are cheaper; called in reverse graph order."""
        if node in self.absorbed:
            producer = node.inputs[0].producer() if node.inputs[0] is not None else None
            keeps = is_op(producer, *_WORTH_BYTES)
        else:
            keeps = not is_op(node, BOUNDING, *COMBINING, *CARRYING, *LOOKUP) or is_op(node, *_WORTH_BYTES)
        if keeps or self._is_read_in_int8(node.outputs[0]):
            return
        self.absorbed.discard(node)
        self.quantized.discard(node)
        self.in_int8.discard(node.outputs[0])

    def finish(self, model: ir.Model) -> Placement:
        """Return the placement."""
        nodes = tuple(node for node in model.graph if node in self.quantized)
        tensors = tuple(dict.fromkeys(value for node in nodes for value in self._tensors(node)))
        made = {output for node in (*self.quantized, *self.absorbed) for output in node.outputs}
        clips = {node.outputs[0]: self.holds[node.outputs[0]] for node in self.absorbed}
        return Placement(
            form=self.form,
            nodes=nodes,
            absorbed=tuple(node for node in model.graph if node in self.absorbed),
            tensors=tensors,
            scale_of=share_scales(nodes, tensors, result_of=self._result, clips=clips, holds=self.holds),
            reads={value: self._reads(value, made) for value in tensors},
            given=frozenset(value for value in tensors if value.is_graph_output() and value in made),
            clips=clips,
            holds=self.holds,
        )

    def _reads(self, value: ir.Value, made: Collection[ir.Value]) -> tuple[Use, ...]:
        """Return who reads the dequantized form.

        What a quantized node gives exists in int8 only, so that every reader gets that; of another tensor only quantized
        nodes do.
        """
        return tuple((use.node, use.idx) for use in value.uses() if value in made or use.node in self.quantized)

    def _follows_quantized(self, node: ir.Node) -> bool:
        """Tell whether quantizers can clip for an activation.

        That behind the quantized node before it can; where that node keeps its input's scale, all those back to the first.
        A symmetric quantizer clips nothing.
        """
        value, reader = node.inputs[0], node
        while not self.form.symmetric and value is not None and only_use(value) is reader:
            producer = value.producer()
            if not is_op(producer, *CARRYING):
                return producer in self.quantized or (reader is not node and producer in self.absorbed)
            if producer not in self.quantized:
                return False
            reader, value = producer, producer.inputs[0]
        return False

    def _follows_suit(self, node: ir.Node) -> bool:
        if is_op(node, "AveragePool") and not averages_evenly(node):
            return False
        if is_op(node, "Mul", *LOOKUP) and not self.form.lookup:
            return False
        if is_op(node, *COMBINING, *LOOKUP):
            sources = data_inputs(node)
            whole = len(sources) + len(constant_operands(node)) == (len(node.inputs) if is_op(node, *COMBINING) else 1)
            return whole and bool(sources) and all(value in self.in_int8 for value in sources)
        keeps_scale = only_bounds(node, self.holds) or (is_op(node, *CARRYING) and only_carries(node))
        return keeps_scale and node.inputs[0] in self.in_int8

    def _is_read_in_int8(self, value: ir.Value) -> bool:
        readers = (use.node for use in value.uses())
        return any(reader in self.quantized or reader in self.absorbed for reader in readers)

    def _tensors(self, node: ir.Node) -> Iterator[ir.Value]:
        """Yield the tensors around a quantized node that get a quantizer."""
        yield from data_inputs(node)
        result = self._result(node)
        if not is_op(node, *_FLOAT_RESULT) or self._is_read_in_int8(result):
            yield result

    def _result(self, node: ir.Node) -> ir.Value:
        """Return what a quantized node gives: its output, or that of the activation that vanishes behind it."""
        reader = only_use(node.outputs[0])
        return reader.outputs[0] if reader is not None and reader in self.absorbed else node.outputs[0]
