"""Which nodes run in int8, which tensors carry a quantizer, and which of these share one scale.

The rules are those of target "cpu-x86": an engine fuses a node into its int8 form when every input comes from a
DequantizeLinear and the output goes into a QuantizeLinear. So

1. layers with constant weights (Conv, Gemm, MatMul) are quantized wherever they stand;
2. sums, concatenations and averages are quantized where all their inputs come in int8 anyway, and their result is used so;
3. nodes that only carry values from place to place follow their input, and keep its scale;
4. Relu, and Clip from 0, vanish into the quantizer that follows: its range starts at 0, so that it clips by itself; behind
   nodes that only carry values, the quantizers before these clip;
5. a tensor that only a concatenation reads takes the scale of the concatenation, which then copies bytes; not a tensor whose
   quantizer must clip (4) where the concatenation may hold what is to be clipped;
6. everything else stays float, and so does the result of a Gemm or MatMul that no int8 node reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.passes.values import (
    attribute,
    constant,
    dimensions,
    is_op,
    layer_bias,
    only_use,
    output_axis,
)
from edgecnn.exporters.quantize.ranges import Range

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Layers with constant weights."""

COMBINING = ("Add", "Concat", "AveragePool", "GlobalAveragePool")
"""Nodes whose result has a range of its own."""

CARRYING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Pad")
"""Nodes whose output values are all among their input's (or zero), by position or by order."""

FAST_CHANNELS = 16
"""Output channels that the int8 kernels of ONNX Runtime (MlasConvSym) work on at a time; with fewer, fp32 is faster."""

_FLOAT_RESULT = ("Gemm", "MatMul")
_WORTH_BYTES = ("Conv", "Concat", "MaxPool")  # int8 even where only floats follow: they have fewer bytes to move
_ANY = Range(-np.inf, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is quantized.

    Attributes:
        nodes: quantized nodes in graph order.
        absorbed: Relu and Clip nodes that vanish into the quantizer behind them, in graph order.
        tensors: tensors that get a quantizer, in graph order.
        scale_of: tensor -> the tensor whose observed range decides its scale, possibly itself.
    """

    nodes: tuple[ir.Node, ...]
    absorbed: tuple[ir.Node, ...]
    tensors: tuple[ir.Value, ...]
    scale_of: Mapping[ir.Value, ir.Value]

    @property
    def observed(self) -> tuple[ir.Value, ...]:
        """The tensors whose range must be known, in graph order."""
        return tuple(dict.fromkeys(self.scale_of[value] for value in self.tensors))


def place(model: ir.Model, *, min_channels: int = FAST_CHANNELS) -> Placement:
    """Return what to quantize in an fp32 graph.

    Args:
        model: the graph.
        min_channels: convolutions of more than one pixel with fewer output channels stay float; 1 quantizes all.
    """
    draft = _Draft(min_channels)
    for node in model.graph:
        draft.visit(node)
    for node in reversed(tuple(model.graph)):
        draft.revisit(node)
    return draft.finish(model)


def _has_weights(node: ir.Node, min_channels: int) -> bool:
    """Tell whether this is a layer whose weight and bias are float32 constants of the shapes that int8 layers take."""
    if not is_op(node, *WEIGHTED) or len(node.inputs) < 2:
        return False
    weight = constant(node.inputs[1])
    if weight is None or weight.dtype != np.float32 or attribute(node, "transA", 0):
        return False
    if node.op_type != "Conv" and weight.ndim != 2:
        return False
    channels = weight.shape[output_axis(node)]
    is_window = node.op_type == "Conv" and int(np.prod(weight.shape[2:])) > 1
    return layer_bias(node, channels) is not None and (channels >= min_channels or not is_window)


@dataclass(slots=True)
class _Draft:
    """The placement while it is being found.

    Attributes:
        min_channels: of the output of a convolution that runs in int8.
        quantized: nodes that run in int8.
        absorbed: activations that vanish.
        in_int8: tensors that a quantized node makes.
    """

    min_channels: int
    quantized: set[ir.Node] = field(default_factory=set)
    absorbed: set[ir.Node] = field(default_factory=set)
    in_int8: set[ir.Value] = field(default_factory=set)

    def visit(self, node: ir.Node) -> None:
        """Take a node in, if its inputs allow it; called in graph order."""
        if _clip_range(node) is not None and self._follows_quantized(node):
            self.absorbed.add(node)
        elif _has_weights(node, self.min_channels) or self._follows_suit(node):
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
            keeps = not is_op(node, *COMBINING, *CARRYING) or is_op(node, *_WORTH_BYTES)
        if keeps or self._is_read_in_int8(node.outputs[0]):
            return
        self.absorbed.discard(node)
        self.quantized.discard(node)
        self.in_int8.discard(node.outputs[0])

    def finish(self, model: ir.Model) -> Placement:
        """Return the placement."""
        nodes = tuple(node for node in model.graph if node in self.quantized)
        tensors = tuple(dict.fromkeys(value for node in nodes for value in self._tensors(node)))
        return Placement(
            nodes=nodes,
            absorbed=tuple(node for node in model.graph if node in self.absorbed),
            tensors=tensors,
            scale_of=self._share_scales(nodes, tensors, _value_ranges(model.graph)),
        )

    def _follows_quantized(self, node: ir.Node) -> bool:
        """Tell whether quantizers can clip for an activation.

        That behind the quantized node before it can; where that node keeps its input's scale, all those back to the first.
        """
        value, reader = node.inputs[0], node
        while value is not None and only_use(value) is reader:
            producer = value.producer()
            if not is_op(producer, *CARRYING):
                return producer in self.quantized or (reader is not node and producer in self.absorbed)
            if producer not in self.quantized:
                return False
            reader, value = producer, producer.inputs[0]
        return False

    def _follows_suit(self, node: ir.Node) -> bool:
        if is_op(node, "AveragePool") and not _averages_evenly(node):
            return False
        if is_op(node, *COMBINING):
            return all(value in self.in_int8 for value in node.inputs)
        return is_op(node, *CARRYING) and node.inputs[0] in self.in_int8 and _only_carries(node)

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

    def _share_scales(
        self, nodes: Iterable[ir.Node], tensors: Iterable[ir.Value], ranges: Mapping[ir.Value, Range]
    ) -> dict[ir.Value, ir.Value]:
        scale_of = {value: value for value in tensors}
        for node in nodes:
            result = self._result(node)
            if is_op(node, *CARRYING) and result is node.outputs[0]:
                scale_of[result] = scale_of[data_inputs(node)[0]]
            elif is_op(node, "Concat", *CARRYING):
                for value in data_inputs(node):
                    group = [member for member, decider in scale_of.items() if decider is scale_of[value]]
                    if self._may_share(group, ranges, result):
                        scale_of.update(dict.fromkeys(group, result))
        return scale_of

    def _may_share(self, group: Iterable[ir.Value], ranges: Mapping[ir.Value, Range], result: ir.Value) -> bool:
        """Tell whether tensors may take the scale of the result that they end up in.

        Nothing else may read any of them, and an activation that vanished behind one of them must let through all that the
        result can hold: the result's range is what their quantizers will clip to.
        """
        return all(
            only_use(member) is not None
            and (member.producer() not in self.absorbed or ranges[result].lies_in(ranges[member]))
            for member in group
        )


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs of a quantized node that hold activations."""
    count = len(node.inputs) if is_op(node, *COMBINING) else 1
    return tuple(value for value in node.inputs[:count] if value is not None)


def _clip_range(node: ir.Node) -> Range | None:
    """Return what a node that only clips, at zero and possibly above, lets through; None for any other node.

    A range calibrated behind it never reaches beyond that, and so clips by itself.
    """
    if is_op(node, "Relu"):
        return Range(0.0, np.inf)
    if not is_op(node, "Clip") or len(node.inputs) < 2:
        return None
    low = constant(node.inputs[1])
    has_high = len(node.inputs) > 2 and node.inputs[2] is not None
    high = constant(node.inputs[2]) if has_high else np.asarray(np.inf)
    if low is None or high is None or float(low) != 0.0 or float(high) < 0.0:
        return None
    return Range(0.0, float(high))


def _value_ranges(graph: ir.Graph) -> dict[ir.Value, Range]:
    """Return which values each tensor can hold at all, whatever the image, as far as activations limit them."""
    ranges: dict[ir.Value, Range] = {}
    for node in graph:
        found = _ANY
        sources = [ranges.get(value, _ANY) for value in data_inputs(node)]
        clip = _clip_range(node)
        if clip is not None:
            found = Range(0.0, min(clip.high, max(sources[0].high, 0.0)))
        elif is_op(node, "Concat") or (is_op(node, *CARRYING) and _only_carries(node)):
            found = Range.around(min(source.low for source in sources), max(source.high for source in sources))
        ranges.update(dict.fromkeys(node.outputs, found))
    return ranges


def _averages_evenly(pool: ir.Node) -> bool:
    """Tell whether every output of an AveragePool is a sum over the same number of values, as a convolution's is."""
    shape = dimensions(pool.inputs[0])
    pads = attribute(pool, "pads", (0,))
    return (
        shape is not None
        and shape[1] is not None
        and (not any(pads) or attribute(pool, "count_include_pad", 0) == 1)
        and attribute(pool, "ceil_mode", 0) == 0
        and attribute(pool, "auto_pad", "NOTSET") == "NOTSET"
    )


def _only_carries(node: ir.Node) -> bool:
    """Tell whether a carrying node brings in no other value than zero, and hands out nothing but values."""
    if any(output.uses() for output in node.outputs[1:]):
        return False
    if node.op_type == "MaxPool":
        return attribute(node, "storage_order", 0) == 0
    if node.op_type == "Pad":
        filling = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(())
        return attribute(node, "mode", "constant") == "constant" and filling is not None and float(filling) == 0.0
    return True
