"""How much memory a graph needs by its shapes: weights once, and the most of activations that is alive at a time.

A tensor is alive from the node that makes it to the last one that reads it. What engines do to every network is taken into
account: a reshape is a view, an elementwise operator works in place where its input is not needed any more, and between
QuantizeLinear and DequantizeLinear there are only the narrow values. An engine's workspace, its own layout of weights
and the rounding of its allocator are not: the estimate is what no engine can do without, not what one takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgecnn.bench.inputs import fitted_shape
from edgecnn.errors import BadInput
from edgecnn.onnxgraph import ELEMENTWISE, OnnxGraph, OnnxNode, read_graph
from edgecnn.onnxshapes import TensorType, Types, infer_types
from edgecnn.results import Footprint
from edgecnn.specs import Artifact

VIEWS = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "DequantizeLinear"))
"""Operators whose output is their input, seen differently."""

IN_PLACE = ELEMENTWISE | {"Softmax"}
"""Operators that may write over an input of the same size that nobody reads later."""

_NOT_COVERED = "without the engine's workspace and its own layout of weights"


def footprint_of(artifact: Artifact, *, batch: int) -> Footprint | None:
    """Return the estimate for a file; None for what is no ONNX graph or cannot be read.

    Args:
        artifact: the model.
        batch: images per run.
    """
    if artifact.format != "onnx":
        return None
    try:
        graph = read_graph(artifact.path)
        inputs = {spec.name: TensorType(spec.dtype, fitted_shape(spec, batch=batch)) for spec in artifact.spec.inputs}
    except BadInput:
        return None
    return footprint(graph, inputs)


def footprint(graph: OnnxGraph, inputs: Mapping[str, TensorType]) -> Footprint:
    """Return the estimate for a graph.

    Args:
        graph: nodes in an order in which inputs come before their use.
        inputs: of the graph, with the shapes that it is run with; they belong to the caller and do not count.
    """
    types = infer_types(graph, inputs)
    weights = sum(TensorType(one.dtype, one.shape).size_bytes or 0 for one in graph.constants.values())
    unknown = [
        node
        for node in graph.nodes
        if node.op_type != "Constant" and any(name and name not in types for name in node.outputs[:1])
    ]
    if unknown:
        kinds = ", ".join(sorted({node.op_type for node in unknown}))
        return Footprint(weights_bytes=weights, note=f"shapes behind {kinds} cannot be told")
    return Footprint(
        weights_bytes=weights,
        activations_bytes=_peak_bytes(graph, types, inputs),
        note=_NOT_COVERED,
    )


@dataclass(slots=True)
class _Alive:
    """Buffers at one moment of a run.

    Attributes:
        sizes: of each buffer, by the name of the tensor that it was made for.
        holder: tensor -> the buffer that it lies in; none for constants and inputs.
        readers: buffer -> how many reads of it are left.
        peak: most bytes so far.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    peak: int = 0


def _peak_bytes(graph: OnnxGraph, types: Types, inputs: Mapping[str, TensorType]) -> int:
    uses = _uses(graph)
    sizes = _sizes(graph, types)
    alive = _Alive()
    for node in graph.nodes:
        for place, name in enumerate(node.outputs):
            if name and name not in graph.constants:
                _place(alive, node, place, name, sizes.get(name, 0), uses)
        alive.peak = max(alive.peak, sum(alive.sizes.values()))
        for name in node.inputs:
            _read(alive, name)
    return alive.peak


def _place(alive: _Alive, node: OnnxNode, place: int, name: str, size: int, uses: Mapping[str, int]) -> None:
    """Give a tensor a buffer: that of an input where the operator allows it, or else a new one."""
    reads = max(1, uses.get(name, 0))
    if place == 0 and node.op_type in VIEWS and node.inputs:
        held = alive.holder.get(node.inputs[0])
        if held is not None:
            alive.holder[name] = held
            alive.readers[held] += reads
        return
    if place == 0 and node.op_type in IN_PLACE:
        for given in node.inputs:
            held = alive.holder.get(given)
            if held is not None and alive.sizes[held] == size and alive.readers[held] == 1:
                alive.holder[name] = held
                alive.readers[held] += reads
                return
    alive.holder[name] = name
    alive.sizes[name] = size
    alive.readers[name] = reads


def _read(alive: _Alive, name: str) -> None:
    held = alive.holder.get(name)
    if held is None or held not in alive.sizes:
        return
    alive.readers[held] -= 1
    if alive.readers[held] <= 0:
        del alive.sizes[held]


def _uses(graph: OnnxGraph) -> dict[str, int]:
    """Return how often each tensor is read; what nobody reads is an output of the graph, and stays."""
    uses: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _sizes(graph: OnnxGraph, types: Types) -> dict[str, int]:
    """Return the bytes of each tensor; one that only goes on to be quantized is never wider than that."""
    sizes = {name: one.size_bytes or 0 for name, one in types.items()}
    readers: dict[str, list[OnnxNode]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    for node in reversed(graph.nodes):
        for name in node.outputs[:1]:
            after = readers.get(name, [])
            if not after or name not in types:
                continue
            narrow = [sizes.get(one.outputs[0]) for one in after if one.op_type == "QuantizeLinear" or _passes(one)]
            if len(narrow) == len(after) and all(size is not None for size in narrow):
                sizes[name] = min(sizes[name], max(size for size in narrow if size is not None))
    return sizes


def _passes(node: OnnxNode) -> bool:
    """Tell whether an operator gives as many values as it takes, one by one."""
    return node.op_type in ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "HardSigmoid")
