"""The layers of a model as an engine runs them: name, time, work, traffic, and what was reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgecnn.bench.inputs import fitted_shape
from edgecnn.bench.peaks.calibration import Calibration
from edgecnn.bench.peaks.roofline import intensity, rate_gbps, rate_gops
from edgecnn.onnxmodel.graph import OnnxGraph, OnnxNode, read_graph
from edgecnn.onnxmodel.shapes import TensorType, infer_types
from edgecnn.profiling.costs import COUNTED, Cost, Costs
from edgecnn.profiling.matching import Group
from edgecnn.profiling.unprofiled import unprofiled
from edgecnn.profiling.values import DEPTHWISE, LayerProfile
from edgecnn.profiling.worker import RawProfile
from edgecnn.specs import Artifact, sized_inputs

# Weight in the file -> what the layer computes with.
_NUMBERS: Mapping[str, str] = {
    "float32": "fp32",
    "float64": "fp64",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "uint8": "int8",
}

_WEIGHT = re.compile(r"^(.+)\.weight(?:_dequantized|_quantized)?$")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """What the file itself says.

    Attributes:
        graph: nodes and constants.
        types: of all tensors at the batch that is run.
        costs: of its nodes.
        working_set_bytes: see `Profile`.
    """

    graph: OnnxGraph
    types: Mapping[str, TensorType]
    costs: Costs
    working_set_bytes: int | None


def analyse(artifact: Artifact, *, batch: int) -> Analysed:
    """Return what the file says about its layers when it is run with a batch.

    Raises:
        BadInput: it cannot be run with this batch, or is not an ONNX model.
    """
    sized = sized_inputs(artifact.spec.inputs, artifact.spec.preprocess)
    inputs = {spec.name: TensorType(spec.dtype, fitted_shape(spec, batch=batch)) for spec in sized}
    graph = read_graph(artifact.path)
    types = infer_types(graph, inputs)
    costs = Costs(graph, types, [spec.name for spec in artifact.spec.outputs])
    return Analysed(graph=graph, types=types, costs=costs, working_set_bytes=_working_set(graph, costs))


def layers_of_run(
    raw: RawProfile,
    groups: Sequence[Group],
    analysed: Analysed,
    total_ns: float,
    calibration: Calibration | None,
) -> tuple[LayerProfile, ...]:
    """Return the layers in order and the call, whose times together are `total_ns`."""
    # A call that seems to take more than half of the run was measured in a slow moment.
    call_ns = min(raw.call_ns or 0.0, total_ns / 2)
    measured = [node.time_ns for node in raw.nodes]
    times = unprofiled(measured, total_ns - call_ns, cost_ns=raw.node_cost_ns)
    alone = dict(zip(map(id, raw.nodes), times, strict=True))
    found = []
    for group in groups:
        layer = _timed(group, analysed, sum(alone[id(node)] for node in group.engine), total_ns)
        found.append(_worked(layer, group, analysed, calibration) if group.nodes else layer)
    if raw.call_ns is not None:
        found.append(
            LayerProfile(
                name="call of the engine",
                kind="call",
                op_type="",
                engine_op="",
                provider="",
                time_ns=call_ns,
                share=call_ns / total_ns,
            )
        )
    return tuple(found)


def _timed(group: Group, analysed: Analysed, time_ns: float, total_ns: float) -> LayerProfile:
    """Return a layer with its name and time."""
    engine_op = "+".join(dict.fromkeys(node.op_type for node in group.engine if node.op_type))
    return LayerProfile(
        name=layer_name(group.nodes, analysed.graph) if group.nodes else group.engine[0].name,
        kind="layer" if group.nodes else "engine",
        op_type=_operators(group.nodes, analysed.graph) if group.nodes else engine_op,
        engine_op=engine_op,
        provider="+".join(dict.fromkeys(node.provider for node in group.engine if node.provider)),
        nodes=tuple(node.name for node in group.nodes),
        time_ns=time_ns,
        share=time_ns / total_ns,
    )


def _worked(layer: LayerProfile, group: Group, analysed: Analysed, calibration: Calibration | None) -> LayerProfile:
    """Return a layer with its work, its traffic, and what it reached."""
    cost = analysed.costs.of(group.nodes)
    macs, size, number = cost.macs, cost.total_bytes, layer_number(cost)
    layer = replace(
        layer,
        macs=macs,
        weight_bytes=cost.weight_bytes,
        activation_bytes=cost.activation_bytes,
        number=number,
        gops=rate_gops(macs, layer.time_ns) if macs else None,
        gbps=None if size is None else rate_gbps(size, layer.time_ns),
    )
    if macs is None or size is None:
        return layer
    layer = replace(layer, intensity=intensity(macs, size))
    if calibration is None or analysed.working_set_bytes is None or (macs and number is None):
        return layer
    # Without operations the peak does not matter, whichever it is.
    roof = calibration.roof(number or "fp32", analysed.working_set_bytes)
    if roof is None:
        return layer
    return replace(
        layer,
        roof_share=roof.share(macs=macs, size_bytes=size, time_ns=layer.time_ns),
        bound=roof.bound(macs=macs, size_bytes=size),
    )


def layer_number(cost: Cost) -> str | None:
    """Return what a layer computes with, by the types of its weights; None without multiply-adds or for a mixture."""
    numbers = {_NUMBERS.get(dtype) for dtype in cost.weight_dtypes}
    return numbers.pop() if len(numbers) == 1 else None


def layer_name(nodes: Sequence[OnnxNode], graph: OnnxGraph) -> str:
    """Return a layer's name: that of its weights, "blocks.0.conv" of "blocks.0.conv.weight", or else of its first node."""
    counted = [node for node in nodes if node.op_type in COUNTED]
    for node in counted:
        weight = node.inputs[1] if len(node.inputs) > 1 else ""
        stem = _WEIGHT.match(weight)
        if stem and (weight in graph.constants or any(weight in one.outputs for one in nodes)):
            return stem[1]
    named = counted or [node for node in nodes if node.op_type not in _QUANTIZERS] or list(nodes)
    return named[0].name


def _operators(nodes: Sequence[OnnxNode], graph: OnnxGraph) -> str:
    """Return the operators, multiply-adds first, without what only quantizes unless there is nothing else."""
    work = [node for node in nodes if node.op_type not in _QUANTIZERS] or list(nodes)
    ordered = sorted(work, key=lambda node: node.op_type not in COUNTED)
    return "+".join(dict.fromkeys(_operator(node, graph) for node in ordered))


def _operator(node: OnnxNode, graph: OnnxGraph) -> str:
    """Return a node's operator; a convolution with one input channel in each of several groups is a depthwise one."""
    groups = node.attributes.get("group", 1)
    return f"{DEPTHWISE} Conv" if node.op_type == "Conv" and groups != 1 and _one_deep(node, graph) else node.op_type


def _one_deep(node: OnnxNode, graph: OnnxGraph) -> bool:
    by_output = {name: one for one in graph.nodes for name in one.outputs}
    weight = node.inputs[1]
    while weight not in graph.constants and weight in by_output and by_output[weight].inputs:
        weight = by_output[weight].inputs[0]
    return weight in graph.constants and graph.constants[weight].shape[1:2] == (1,)


def _working_set(graph: OnnxGraph, costs: Costs) -> int | None:
    each = [costs.of([node]) for node in graph.nodes if node.op_type not in _QUANTIZERS]
    activations = [cost.activation_bytes for cost in each if cost.activation_bytes is not None]
    weights = costs.of(graph.nodes).weight_bytes
    return None if weights is None or not activations else weights + max(activations)
