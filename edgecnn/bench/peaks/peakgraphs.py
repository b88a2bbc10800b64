"""The graphs that a processor's peak is measured with: convolutions and products that keep every engine's kernels busy.

Each is a chain of equal layers, so that what lies around the layers, the engine's call and the conversions at both ends,
stays below a percent. Layers are as large as those of ResNet-50 and VGG-16: what is a peak here, a network can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecnn.onnxmodel.write import Op, model_file
from edgecnn.specs import TensorSpec

LAYERS = 3
"""Equal layers in a chain."""

_Constants = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakGraph:
    """One graph.

    Attributes:
        name: of the kernel that it exercises.
        macs: multiply-adds of one run.
        content: of the .onnx file; input "input", output "output", float32 both.
    """

    name: str
    macs: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What is repeated.

    Attributes:
        name: of the kernel.
        op_type: of the node.
        shape: of input and output.
        weight: shape of the weights.
        pads: of a convolution, each side.
    """

    name: str
    op_type: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    pads: int = 0

    @property
    def macs(self) -> int:
        positions = self.shape[2:] if self.op_type == "Conv" else self.shape[:1]
        return int(np.prod(self.weight)) * int(np.prod(positions))


_SHAPES = (
    _Layer(name="conv3x3", op_type="Conv", shape=(1, 128, 28, 28), weight=(128, 128, 3, 3), pads=1),
    _Layer(name="conv1x1", op_type="Conv", shape=(1, 256, 28, 28), weight=(256, 256, 1, 1)),
    _Layer(name="matmul", op_type="MatMul", shape=(384, 512), weight=(512, 512)),
)


def float_graphs() -> tuple[PeakGraph, ...]:
    """Return the graphs in float32."""
    return tuple(_graph(layer, _float_layer) for layer in _SHAPES)


def int8_graphs() -> tuple[PeakGraph, ...]:
    """Return the same in QDQ form: uint8 activations, int8 weights with one scale."""
    return tuple(_graph(layer, _int8_layer) for layer in _SHAPES)


def _graph(layer: _Layer, make: Callable[[_Layer, int, str, _Constants], Sequence[Op]]) -> PeakGraph:
    constants: _Constants = {}
    ops: list[Op] = []
    last = "input"
    for place in range(LAYERS):
        ops += make(layer, place, last, constants)
        last = ops[-1].output
    ops.append(Op(op_type="Identity", inputs=(last,), output="output"))
    spec = TensorSpec(name="input", dtype="float32", shape=layer.shape)
    out = TensorSpec(name="output", dtype="float32", shape=layer.shape)
    content = model_file(layer.name, ops, constants, [spec], [out])
    return PeakGraph(name=layer.name, macs=LAYERS * layer.macs, content=content)


def _operation(layer: _Layer, inputs: tuple[str, str], output: str) -> Op:
    kernel = layer.weight[2:]
    attributes = {"kernel_shape": kernel, "pads": (layer.pads,) * 4} if kernel else {}
    return Op(op_type=layer.op_type, inputs=inputs, output=output, attributes=attributes)


def _weights(layer: _Layer, place: int) -> NDArray[np.float32]:
    """Return weights that keep the activations' size from layer to layer: no overflow, no subnormal numbers."""
    fan_in = int(np.prod(layer.weight[1:])) if layer.weight[2:] else layer.weight[0]
    values = np.random.default_rng(place).standard_normal(layer.weight, np.float32)
    return np.asarray(values / np.sqrt(np.float32(fan_in)), np.float32)


def _float_layer(layer: _Layer, place: int, source: str, constants: _Constants) -> Sequence[Op]:
    constants[f"weight{place}"] = _weights(layer, place)
    return (_operation(layer, (source, f"weight{place}"), f"layer{place}"),)


def _int8_layer(layer: _Layer, place: int, source: str, constants: _Constants) -> Sequence[Op]:
    # Activations are standard normal: 8 / 255 covers four standard deviations. Weights use 4 of their own.
    weights = _weights(layer, place)
    step = np.float32(4 * weights.std() / 127)
    constants["scale"], constants["zero"] = np.array(8 / 255, np.float32), np.array(128, np.uint8)
    constants[f"weight{place}"] = np.clip(np.round(weights / step), -127, 127).astype(np.int8)
    constants[f"step{place}"], constants["weight_zero"] = np.array(step), np.array(0, np.int8)
    ends = ("scale", "zero")
    weight = f"weight{place}_dequantized"
    ops = [
        Op(
            op_type="DequantizeLinear",
            inputs=(f"weight{place}", f"step{place}", "weight_zero"),
            output=weight,
        ),
        _operation(layer, (f"in{place}", weight), f"layer{place}"),
        Op(op_type="QuantizeLinear", inputs=(f"layer{place}", *ends), output=f"layer{place}_quantized"),
        Op(op_type="DequantizeLinear", inputs=(f"layer{place}_quantized", *ends), output=f"in{place + 1}"),
    ]
    first = [
        Op(op_type="QuantizeLinear", inputs=(source, *ends), output="input_quantized"),
        Op(op_type="DequantizeLinear", inputs=("input_quantized", *ends), output="in0"),
    ]
    return [*(first if place == 0 else ()), *ops]
