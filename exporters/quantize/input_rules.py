"""Placement for engines that fuse forwards: quantizers stand before layers with weights, and not behind them.

That is TensorRT: a convolution takes bias, sum and Relu behind it into one kernel, and the quantizer that follows into its
output (NVIDIA's guide to explicit quantization, "Q/DQ placement recommendations").

1. The input of every Conv, and of every Gemm and MatMul but the last layer, is quantized, and nothing else reads it so;
2. a sum with the result of a convolution reads its other input quantized, which is the one that the next convolution reads;
   the convolution's stays float, so that the sum fuses into that; of two convolutions, the later one's does;
3. pools, concatenations and what only moves values are quantized on both sides where a quantized node reads their result,
   and on neither side elsewhere;
4. activations stay as they are, float between float.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import onnx_ir as ir

from edgecnn.exporters.passes.values import constant, is_op, only_use
from edgecnn.exporters.quantize.operators import (
    AVERAGING,
    CARRYING,
    data_inputs,
    has_weights,
    is_depthwise,
    only_carries,
    value_ranges,
)
from edgecnn.exporters.quantize.placed import Placement, Use, share_scales
from edgecnn.exporters.targets import Form


def place_on_inputs(model: ir.Model, *, form: Form, keep_float: Collection[str], min_channels: int) -> Placement:
    """Return what to quantize, by the rules of this module."""
    nodes = tuple(node for node in model.graph if node.name not in keep_float)
    draft = _Draft()
    head = _head(model.graph) if form.head == "float" else None
    for node in nodes:
        float_depthwise = form.depthwise == "float" and is_depthwise(node)
        if node is not head and not float_depthwise and has_weights(node, min_channels):
            draft.take(node, node.inputs[:1])
    for node in nodes:
        if form.residual == "identity" and is_op(node, "Add"):
            draft.take_sum(node)
    for node in reversed(nodes):
        if _moves(node) and any(output in draft.reads for output in node.outputs):
            draft.take(node, data_inputs(node))
    return draft.finish(model, form)


def _head(graph: ir.Graph) -> ir.Node | None:
    """Return the last layer with weights, where that is a linear one."""
    last = next((node for node in reversed(graph) if has_weights(node, 1)), None)
    return last if is_op(last, "Gemm", "MatMul") else None


def _moves(node: ir.Node) -> bool:
    """Tell whether a node is one of those that are quantized on both sides or on neither."""
    if is_op(node, "Concat"):
        return len(data_inputs(node)) == len(node.inputs)
    return is_op(node, *AVERAGING) or (is_op(node, *CARRYING) and only_carries(node))


@dataclass(slots=True)
class _Draft:
    """The placement while it is being found.

    Attributes:
        quantized: nodes that read something quantized.
        reads: tensor -> who reads it quantized.
    """

    quantized: set[ir.Node] = field(default_factory=set)
    reads: dict[ir.Value, list[Use]] = field(default_factory=lambda: defaultdict(list))

    def take(self, node: ir.Node, sources: Collection[ir.Value | None]) -> None:
        """Let a node read these of its inputs quantized."""
        for index, value in enumerate(node.inputs):
            if value is not None and value in sources and constant(value) is None:
                self.reads[value].append((node, index))
                self.quantized.add(node)

    def take_sum(self, node: ir.Node) -> None:
        """Let a sum read its identity input quantized, where the other is made by a convolution for it alone."""
        order = {member: index for index, member in enumerate(node.graph)} if node.graph is not None else {}
        branches = [value for value in data_inputs(node) if self._is_branch(value, node)]
        if not branches or len(data_inputs(node)) != len(node.inputs):
            return
        fused = max(branches, key=lambda value: order[value.producer()])  # type: ignore[index]
        self.take(node, [value for value in data_inputs(node) if value is not fused])

    def _is_branch(self, value: ir.Value, reader: ir.Node) -> bool:
        producer = value.producer()
        return producer in self.quantized and is_op(producer, "Conv") and only_use(value) is reader

    def finish(self, model: ir.Model, form: Form) -> Placement:
        """Return the placement; a node on both sides of which values are the same keeps their scale."""
        graph = model.graph
        nodes = tuple(node for node in graph if node in self.quantized)
        made = (value for node in graph for value in node.outputs)
        tensors = tuple(value for value in (*graph.inputs, *made) if value in self.reads)
        return Placement(
            form=form,
            nodes=nodes,
            absorbed=(),
            tensors=tensors,
            scale_of=self._scales(nodes, tensors),
            reads={value: tuple(self.reads[value]) for value in tensors},
            given=frozenset(),
            clips={},
            holds=value_ranges(graph),
        )

    def _scales(self, nodes: Collection[ir.Node], tensors: Collection[ir.Value]) -> dict[ir.Value, ir.Value]:
        moving = [node for node in nodes if node.outputs[0] in tensors and is_op(node, "Concat", *CARRYING)]
        return share_scales(moving, tensors, result_of=lambda node: node.outputs[0], clips={}, holds={})
