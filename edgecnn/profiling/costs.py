"""What the nodes of a graph cost whatever runs them: multiply-adds, and the bytes that have to be read and written once."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edgecnn.onnxmodel.graph import OnnxGraph, OnnxNode
from edgecnn.onnxmodel.shapes import TensorType

# What stands between a weight and its layer and changes its type or form alone.
_SAME_VALUES = frozenset(
    {"DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"}
)

COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with multiply-adds; a model's `macs` counts the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a group of nodes costs, the whole batch.

    Attributes:
        macs: multiply-adds of convolutions and linear layers, null where a shape is not known.
        weight_bytes: constants that it reads, null where a size is not known.
        input_bytes: activations from elsewhere, each counted once, null where a size is not known.
        output_bytes: activations that are used elsewhere, null where a size is not known.
        weight_dtypes: types of the weights of its convolutions and linear layers.
    """

    macs: int | None
    weight_bytes: int | None
    input_bytes: int | None
    output_bytes: int | None
    weight_dtypes: tuple[str, ...] = ()

    @property
    def activation_bytes(self) -> int | None:
        """Inputs and outputs."""
        return None if self.input_bytes is None or self.output_bytes is None else self.input_bytes + self.output_bytes

    @property
    def total_bytes(self) -> int | None:
        """Least traffic: everything once."""
        activations = self.activation_bytes
        return None if self.weight_bytes is None or activations is None else self.weight_bytes + activations


def node_macs(node: OnnxNode, types: Mapping[str, TensorType]) -> int | None:
    """Return the multiply-adds of a node for the whole batch, 0 for one that has none; None where shapes are not known.

    Those of a convolution are its weights times the positions that they are applied at: of the output, or of the input that
    they are spread from.
    """
    if node.op_type not in COUNTED or node.domain:
        return 0
    data, weight, out = (types.get(name) for name in (*node.inputs[:2], node.outputs[0]))
    if data is None or weight is None or out is None:
        return None
    if node.op_type == "Conv":
        return math.prod(weight.shape) * math.prod(out.shape[2:]) * out.shape[0]
    if node.op_type == "ConvTranspose":
        return math.prod(weight.shape) * math.prod(data.shape[2:]) * data.shape[0]
    depth = data.shape[0] if node.op_type == "Gemm" and node.attributes.get("transA") else data.shape[-1]
    return math.prod(out.shape) * depth


class Costs:
    """Costs of groups of nodes of one graph.

    Args:
        graph: the model's.
        types: of its tensors, see `edgecnn.onnxmodel.shapes.infer_types`.
        outputs: names of the graph's outputs.
    """

    def __init__(self, graph: OnnxGraph, types: Mapping[str, TensorType], outputs: Collection[str]) -> None:
        self._graph = graph
        self._types = types
        self._outputs = frozenset(outputs)
        self._producer = {name: node for node in graph.nodes for name in node.outputs if name}
        self._readers: dict[str, list[OnnxNode]] = {}
        for node in graph.nodes:
            for name in filter(None, node.inputs):
                self._readers.setdefault(name, []).append(node)

    def of(self, nodes: Iterable[OnnxNode]) -> Cost:
        """Return what a group costs; what passes from node to node inside of it is not counted as traffic."""
        group = tuple(nodes)
        inside = {id(node) for node in group}
        macs = [node_macs(node, self._types) for node in group]
        known = [count for count in macs if count is not None]
        read = {name for node in group for name in node.inputs if name}
        constants = {name for name in read if name in self._graph.constants}
        weights = {name for node in group if node.op_type in COUNTED for name in node.inputs[1:2]}
        arriving = {
            self._quantized(name, inside)
            for name in read - constants
            if name not in self._producer or id(self._producer[name]) not in inside
        }
        leaving = {name for node in group for name in node.outputs if name and self._leaves(name, inside)}
        return Cost(
            macs=sum(known) if len(known) == len(macs) else None,
            weight_bytes=self._bytes(constants),
            input_bytes=self._bytes(arriving),
            output_bytes=self._bytes(leaving),
            weight_dtypes=tuple(sorted({self._stored(name) for name in weights})),
        )

    def _leaves(self, name: str, inside: Collection[int]) -> bool:
        return name in self._outputs or any(id(node) not in inside for node in self._readers.get(name, ()))

    def _quantized(self, name: str, inside: Collection[int]) -> str:
        """Return the tensor that is really moved: engines pass the small integers on, not what DequantizeLinear makes."""
        producer = self._producer.get(name)
        if producer is not None and producer.op_type == "DequantizeLinear" and id(producer) not in inside:
            return producer.inputs[0]
        return name

    def _stored(self, name: str) -> str:
        """Return the type that a weight has in the file; of one that is computed, that of the tensor before it is quantized."""
        producer = self._producer.get(name)
        while producer is not None and producer.op_type in _SAME_VALUES and name not in self._graph.constants:
            name = producer.inputs[0]
            producer = self._producer.get(name)
        found = self._types.get(name)
        return found.dtype if found else "unknown"

    def _bytes(self, names: Iterable[str]) -> int | None:
        sizes = [found.size_bytes if (found := self._types.get(name)) else None for name in names]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None
