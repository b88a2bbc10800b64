"""Weights whose channels are equally wide, so that one scale per tensor serves all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgecnn.exporters.passes.base import Pass
from edgecnn.exporters.passes.values import add_constant, attribute, constant, is_op, layer_bias, only_use

_TRANSPARENT = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool")
"""Nodes between two layers that work on each channel by itself and commute with a factor above zero."""

_ROUNDS = 20
_SETTLED = 1e-3
_LIMIT = 1 << 7
"""No channel is scaled by more: what is nearly dead would otherwise take any factor."""


class EqualizeWeights(Pass):
    """Scales the output channels of a layer down and the same input channels of the next up, by what makes both equally wide.

    Cross-layer equalization (Nagel et al. 2019, section 4.1): s_i = sqrt(r1_i * r2_i) / r2_i, over all pairs until the factors
    settle. The next layer alone reads the first, directly or through nodes for which f(s * x) = s * f(x) holds: Relu and
    pooling, but not Clip (ReLU6), HardSwish or a sum. In fp32 the model computes the same up to rounding.
    """

    name = "equalize-weights"

    def apply(self, model: ir.Model) -> bool:
        """Rewrite the model in place and return whether anything changed."""
        pairs = list(_pairs(model.graph))
        layers = {layer: _Layer.of(layer) for pair in pairs for layer in pair}
        for _ in range(_ROUNDS):
            moved = [_equalize(layers[first], layers[second]) for first, second in pairs]
            if max(moved, default=0.0) < _SETTLED:
                break
        for node, layer in layers.items():
            layer.write(node)
        return bool(pairs)


@dataclass(slots=True)
class _Layer:
    """A layer's constants while factors move between them.

    Attributes:
        weight: float64 [outputs, inputs of a group, ...].
        bias: float64 [outputs], None without one.
        group: of a Conv.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None
    group: int

    @classmethod
    def of(cls, node: ir.Node) -> _Layer:
        """Return the constants of a Conv."""
        found = constant(node.inputs[1])
        assert found is not None
        weight = np.array(found, np.float64)
        has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
        bias = layer_bias(node, len(weight)) if has_bias else None
        return cls(weight, None if bias is None else np.array(bias, np.float64), attribute(node, "group", 1))

    def output_widths(self) -> NDArray[np.float64]:
        """Return the greatest magnitude of the weights of each output channel."""
        widths: NDArray[np.float64] = np.abs(self.weight).reshape(len(self.weight), -1).max(axis=1)
        return widths

    def by_input(self) -> NDArray[np.float64]:
        """Return a view of the weights with one row for each input channel."""
        outputs, inputs = self.weight.shape[:2]
        grouped = self.weight.reshape(self.group, outputs // self.group, inputs, -1)
        return np.moveaxis(grouped, 2, 1)

    def scale_inputs(self, factors: NDArray[np.float64]) -> None:
        """Multiply the weights of each input channel by a factor."""
        self.by_input()[...] *= factors.reshape(self.group, -1, 1, 1)

    def write(self, node: ir.Node) -> None:
        """Give the constants back to the node, as new ones: others may read the old."""
        graph = node.graph
        assert isinstance(graph, ir.Graph)
        weight = self.weight.astype(np.float32)
        node.replace_input_with(1, add_constant(graph, f"{node.inputs[1].name}_equalized", weight))  # type: ignore[union-attr]
        if self.bias is not None:
            bias = self.bias.astype(np.float32)
            node.replace_input_with(2, add_constant(graph, f"{node.inputs[2].name}_equalized", bias))  # type: ignore[union-attr]


def _equalize(first: _Layer, second: _Layer) -> float:
    """Move factors from one layer to the next and return by how much the greatest differs from 1."""
    one = first.output_widths()
    other = np.abs(second.by_input()).max(axis=(2, 3)).reshape(-1)
    alive = (one > 0) & (other > 0)
    factors = np.ones(len(one))
    factors[alive] = np.sqrt(one[alive] / other[alive])
    factors = np.clip(factors, 1 / _LIMIT, _LIMIT)
    first.weight /= factors.reshape(-1, *[1] * (first.weight.ndim - 1))
    if first.bias is not None:
        first.bias /= factors
    second.scale_inputs(factors)
    return float(np.abs(factors - 1).max())


def _pairs(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Yield each layer and the one that alone reads its channels, in graph order."""
    for node in graph:
        if not is_op(node, "Conv") or not _is_scalable(node):
            continue
        value = node.outputs[0]
        reader = only_use(value)
        while reader is not None and is_op(reader, *_TRANSPARENT) and len(reader.inputs) == len(reader.outputs) == 1:
            value = reader.outputs[0]
            reader = only_use(value)
        if reader is not None and reader.inputs[0] is value and _is_scalable(reader):
            yield node, reader


def _is_scalable(node: ir.Node) -> bool:
    """Tell whether a layer's weight and bias are float32 constants."""
    if not is_op(node, "Conv") or len(node.inputs) < 2:
        return False
    weight = constant(node.inputs[1])
    return weight is not None and weight.dtype == np.float32 and layer_bias(node, len(weight)) is not None
