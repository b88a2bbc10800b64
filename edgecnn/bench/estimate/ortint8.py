"""Steps of quantized operators in ONNX Runtime's CPU provider, told from the QuantizeLinear / DequantizeLinear around them.

Where it stands in the engine's public source (microsoft/onnxruntime, folder onnxruntime/core):

- An operator between DequantizeLinear and QuantizeLinear is one on integers, and its float tensors do not exist; an activation
  before QuantizeLinear lies in its range (optimizer/qdq_transformer/selectors_actions).
- Convolutions take channels last; tensors are transposed where such a stretch begins and ends (optimizer/nhwc_transformer.cc).
- A convolution with symmetric int8 weights reads its windows through pointers, one to each pixel of each window, of all images
  at once. Any other one writes out the windows of one image and its sums in 32 bits (providers/cpu/quantization/qlinearconv.cc;
  which it is: mlas/lib/convsym.cpp, MlasConvSymPackWSize).
- Average pooling on integers computes on a float copy of its input (contrib_ops/cpu/quantization/qlinear_pool.cc).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from edgecnn.bench.estimate.liveness import Step
from edgecnn.bench.estimate.lowering import Lowering, padded
from edgecnn.bench.estimate.ortorder import KEPT, ordered_nodes, ordered_steps
from edgecnn.bench.estimate.ortsteps import IN_PLACE, VIEWS, float_steps
from edgecnn.onnxmodel.graph import OnnxNode
from edgecnn.onnxmodel.tensortypes import TensorType, integer

INTEGER = frozenset(
    {
        "Conv",
        "Gemm",
        "MatMul",
        "Add",
        "Mul",
        "AveragePool",
        "GlobalAveragePool",
        "Concat",
        "Sigmoid",
        "LeakyRelu",
        "Softmax",
    }
    | {"HardSigmoid", "HardSwish"}
)
"""Operators that have a form on integers of its own."""

MOVING = VIEWS | {"MaxPool", "Slice", "Pad", "Transpose", "Gather", "Split", "Resize"}
"""Operators that move values about: they run on the integers as they are."""

_RANGED = frozenset({"Relu", "Clip"})
_CHANNELS_LAST = frozenset(
    {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Mul", "Concat", "Slice", "Pad"}
)
_JOINING = frozenset({"Add", "Sum", "Mul", "Sub", "Div", "Concat"})
_POINTER = 8


@dataclass(slots=True)
class Integers:
    """What is known about the quantized tensors of a graph.

    Attributes:
        low: the steps.
        of: float tensor -> the quantized one that it stands for.
        source: float constant -> the quantized one that it is made from.
        done: outputs of nodes that another one has taken in.
    """

    low: Lowering
    of: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)


def steps_of(low: Lowering) -> list[Step]:
    """Return the steps of the whole graph, in the order in which the engine runs them.

    Args:
        low: a lowering without steps yet.
    """
    known = Integers(low=low)
    for node in ordered_nodes(low.graph.nodes):
        if node.op_type == "Constant" or not node.outputs or node.outputs[0] in known.done:
            continue
        if node.inputs and all(not name or name in low.constants for name in node.inputs):
            low.constants.update(node.outputs)
            if node.op_type == "DequantizeLinear":
                known.source[node.outputs[0]] = node.inputs[0]
        elif node.op_type == "DequantizeLinear":
            known.of[node.outputs[0]] = low.root(node.inputs[0])
            if not low.uses.get(node.outputs[0]):
                _dequantize(known, node.outputs[0], last=False)
        elif not _on_integers(known, node):
            _on_floats(known, node)
    # Integers take two optimizers: one makes operators on them, which leaves those that move values about, one turns channels.
    first = ordered_steps(low.steps, kept=KEPT | {"QLinear" + name for name in MOVING}) if known.of else low.steps
    return ordered_steps(first)


def _on_integers(known: Integers, node: OnnxNode) -> bool:
    """Add a node as one on integers; False where it is none."""
    low = known.low
    data = [name for name in node.inputs if name and name not in low.constants]
    if not data or not all(name in known.of for name in data):
        return False
    if node.op_type == "QuantizeLinear":
        low.same[node.outputs[0]] = known.of[node.inputs[0]]
        return True
    outputs = [name for place, name in enumerate(node.outputs) if low.uses.get(name) or place == 0]
    quantized = [_quantized(known, name) for name in outputs]
    sums = node.op_type in ("Gemm", "MatMul")
    if not (sums or all(quantized)) or node.op_type not in INTEGER | MOVING:
        return False
    makes = tuple(way[-1] if way else name for way, name in zip(quantized, outputs, strict=True))
    known.done.update(*quantized)
    _integer_step(known, node, [known.of[name] for name in data], makes)
    return True


def _quantized(known: Integers, name: str) -> list[str]:
    """Return what QuantizeLinear makes of a tensor, after the activations that its range covers; empty where it does not."""
    way: list[str] = []
    readers = known.low.uses.get(name, [])
    while len(readers) == 1 and readers[0].op_type in _RANGED:
        way.append(readers[0].outputs[0])
        readers = known.low.uses.get(way[-1], [])
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        return []
    return [*way, readers[0].outputs[0]]


def _integer_step(known: Integers, node: OnnxNode, data: list[str], makes: tuple[str, ...]) -> None:
    low = known.low
    last = len(low.types[data[0]].shape) == 4 and node.op_type in _CHANNELS_LAST
    last = last and (node.op_type == "Conv" or any(name in low.last for name in data))
    reads = tuple(_with_channels(known, name, last=last) for name in data)
    if last:
        low.last.update(makes)
    made = tuple(low.made(name) for name in makes)
    _keep(known, node)
    view = reads[0] if node.op_type in VIEWS else ""
    scratch = _scratch(low, node, data[0], low.types[makes[0]])
    low.steps.append(Step(op_type="QLinear" + node.op_type, reads=reads, makes=made, view_of=view, scratch=scratch))
    low.plain.update(makes)


def _keep(known: Integers, node: OnnxNode) -> None:
    """Note the constants of a node on integers: weights in the form that its kernel packs them into."""
    low = known.low
    for place, name in enumerate(node.inputs):
        source = known.source.get(name, name)
        if source not in low.constants or source not in low.types:
            continue
        shape = low.types[source].shape
        size = low.types[source].size_bytes or 0
        if place == 1 and node.op_type == "Conv":
            size = _packed_conv(integer(node, "group", 1), shape)
        elif place == 1 and node.op_type in ("Gemm", "MatMul"):
            last = low.types[node.outputs[0]].shape[-1]
            size = packed_bytes(last, math.prod(shape) // last)
        low.weights[source] = size


def _packed_conv(group: int, shape: tuple[int, ...]) -> int:
    outer, inner, kernel = shape[0], shape[1], math.prod(shape[2:])
    if inner == 1 and outer == group:
        return outer * kernel
    if symmetric(group, outer, inner):
        return padded(outer, 16) * inner * kernel
    return group * packed_bytes(outer // group, inner * kernel)


def packed_bytes(columns: int, rows: int) -> int:
    """Return the size of a matrix of int8 as products on integers take it, with the sums of its columns (mlas/lib/qgemm.cpp).

    Args:
        columns: padded to sixteen.
        rows: padded to four.
    """
    width = padded(columns, 16)
    return width * padded(rows, 4) + 4 * width


def _with_channels(known: Integers, name: str, *, last: bool) -> str:
    """Return a tensor with its channels last or first, transposed where need be."""
    low = known.low
    if (name in low.last) == last:
        return name
    other = name + ("\n last" if last else "\n first")
    if other not in low.plain:
        low.types[other] = low.types[name]
        low.plain.add(other)
        if last:
            low.last.add(other)
        source = low.plainly(name) if name not in low.last else name
        low.steps.append(Step(op_type="Transpose", reads=(source,), makes=(low.made(other),)))
    return other


def _on_floats(known: Integers, node: OnnxNode) -> None:
    """Add a node on floats, with what is quantized among its inputs turned into floats first."""
    low = known.low
    data = [name for name in node.inputs if name and name not in low.constants]
    turned = sum(known.of.get(name, low.root(name)) in low.last for name in data)
    # Transpositions are moved behind an operator where most of its inputs have one and that leads to where they cancel out.
    leads = turned > 0 and _leads_to_integers(low, node)
    last = leads and 2 * turned > len(data)
    inputs = []
    for name in node.inputs:
        if name in known.of and name not in low.plain:
            if node.op_type in _JOINING and leads and not last and known.of[name] in low.last:
                _turn_as_floats(known, name)
            _dequantize(known, name, last=last)
        there = low.root(name)
        turns = name in data and len(low.types[name].shape) == 4 and (there in low.last) != last
        inputs.append(_with_channels(known, there, last=last) if turns else name)
    if last:
        low.last.update(node.outputs)
    float_steps(low, node if list(node.inputs) == inputs else replace(node, inputs=tuple(inputs)))


def _leads_to_integers(low: Lowering, node: OnnxNode) -> bool:
    """Whether what a node makes is quantized, at once or after further operators of one element at a time."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if one.op_type == "QuantizeLinear":
            return True
        if one.op_type in IN_PLACE | _JOINING and one.outputs[0] not in seen:
            seen.add(one.outputs[0])
            waiting += low.uses.get(one.outputs[0], [])
    return False


def _turn_as_floats(known: Integers, name: str) -> None:
    """Put the channels of a quantized tensor first for a sum or concatenation of floats: on floats, there and back.

    The transposition is moved behind DequantizeLinear in the hope that it goes through the sum as well, and what separates it
    from the tensor is quantized again (optimizer/transpose_optimization/onnx_transpose_optimization.cc).
    """
    low, source = known.low, known.of[name]
    there, again = f"{name}\n on the way", f"{name}\n again"
    low.types.update({there: low.types[name], again: low.types[source]})
    low.last.add(there)
    low.steps.append(Step(op_type="DequantizeLinear", reads=(source,), makes=(low.made(there),)))
    turned = _with_channels(known, there, last=False)
    low.steps.append(Step(op_type="QuantizeLinear", reads=(turned,), makes=(low.made(again),)))
    low.plain.update((there, again))
    known.of[name] = again


def _dequantize(known: Integers, name: str, *, last: bool) -> None:
    """Make the floats of a quantized tensor."""
    low = known.low
    there = _with_channels(known, known.of[name], last=last)
    if last:
        low.last.add(name)
    low.steps.append(Step(op_type="DequantizeLinear", reads=(there,), makes=(low.made(name),)))
    low.plain.add(name)


def _scratch(low: Lowering, node: OnnxNode, data: str, made: TensorType) -> tuple[int, ...]:
    """Return what a kernel on integers takes while it runs."""
    source, weight = low.types.get(data), low.types.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if source is None:
        return ()
    if node.op_type == "AveragePool":
        return (4 * math.prod(source.shape),)
    if node.op_type == "Conv" and weight is not None:
        return _conv_scratch(integer(node, "group", 1), weight, source, made)
    return ()


def _conv_scratch(group: int, weight: TensorType, data: TensorType, made: TensorType) -> tuple[int, ...]:
    images, pixels = made.shape[0], math.prod(made.shape[2:])
    outer, inner, kernel = weight.shape[0], weight.shape[1], math.prod(weight.shape[2:])
    depthwise = group > 1 and inner == 1 and outer == group
    pointwise = kernel == 1 and made.shape[2:] == data.shape[2:]
    pointers = _POINTER * kernel * pixels
    if symmetric(group, outer, inner):
        return () if pointwise and not depthwise else (images * pointers,)
    sums = 4 * outer * pixels
    if depthwise:
        return (sums, pointers)
    return (sums,) if pointwise else (sums, inner * kernel * pixels)


def symmetric(group: int, outer: int, inner: int) -> bool:
    """Tell whether a convolution with int8 weights around zero runs without sums of its own (x86).

    MlasConvSymPackWSize: depthwise in blocks of 16 channels; otherwise one group, inner channels in fours and at least 16 outer
    ones in eights.

    Args:
        group: of the convolution.
        outer: channels of its output.
        inner: channels of a group of its input.
    """
    if group > 1:
        return inner == 1 and outer == group and group % 16 == 0
    return inner % 4 == 0 and outer >= 16 and outer % 8 == 0
