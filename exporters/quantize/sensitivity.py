"""Which nodes a model's answer suffers from most: each is quantized alone, everything else stays fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from edgecnn.exporters.decibels import decibels
from edgecnn.exporters.macs import layer_macs
from edgecnn.exporters.passes.values import add_constant, is_op, unique_name
from edgecnn.exporters.quantize.bias_correction import weight_error
from edgecnn.exporters.quantize.calibrate import Calibrator
from edgecnn.exporters.quantize.calibration_cache import RangeTable
from edgecnn.exporters.quantize.concat_scales import settle_scales
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.operators import CARRYING, WEIGHTED, clip_range, data_inputs
from edgecnn.exporters.quantize.placed import Placement
from edgecnn.exporters.quantize.recipe import Sensitivity
from edgecnn.exporters.quantize.scales import Quantizer, choose_quantizer
from edgecnn.runtimes.base import Array

IMAGES = 128
"""Calibration images that each node is judged on."""


def rank_nodes(
    model: ir.Model,
    placement: Placement,
    table: RangeTable,
    *,
    calibrator: Calibrator,
    config: QuantizeConfig,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Sensitivity, ...]:
    """Return how sensitive the model is to each node that has a rounding of its own, the worst first.

    A node is quantized as in the int8 file: its inputs, its weights and its result. The signal-to-quantization-noise ratio
    is that of the model's output over the images, 10 log10(sum(y^2) / sum((y - y_q)^2)). Nodes that change more first classes
    than two images in a hundred come first, by how many; all others by their SQNR.

    Args:
        model: the fp32 graph.
        placement: what would be quantized of it.
        table: ranges of all its tensors.
        calibrator: has the images.
        config: weight options.
        on_progress: called with nodes done and nodes in all.
    """
    nodes = [node for node in placement.nodes if not is_op(node, *CARRYING)]
    macs = layer_macs(model)
    total = sum(macs.values()) or 1
    reference, labels = calibrator.answers(model, IMAGES)
    found = []
    for index, node in enumerate(nodes):
        answer, _ = calibrator.answers(_quantize_alone(model, node, placement, table, config), IMAGES)
        found.append(_compare(node, reference, answer, labels, macs.get(node, 0) / total))
        on_progress(index + 1, len(nodes))
    return tuple(sorted(found, key=_badness))


def _badness(one: Sensitivity) -> tuple[float, float]:
    agreement = one.agreement if one.agreement < 0.98 else 1.0
    return agreement, np.inf if one.sqnr_db is None else one.sqnr_db


def _compare(node: ir.Node, reference: Array, answer: Array, labels: Array, macs_share: float) -> Sensitivity:
    noise = float(np.sum((reference - answer) ** 2, dtype=np.float64))
    signal = float(np.sum(reference**2, dtype=np.float64))
    classes, known = answer.argmax(axis=1), labels >= 0
    return Sensitivity(
        node=str(node.name),
        op_type=node.op_type,
        sqnr_db=decibels(signal, noise),
        agreement=float(np.mean(classes == reference.argmax(axis=1))),
        accuracy=float(np.mean(classes[known] == labels[known])) if known.any() else None,
        images=len(answer),
        macs_share=macs_share,
    )


def _quantize_alone(
    model: ir.Model, node: ir.Node, placement: Placement, table: RangeTable, config: QuantizeConfig
) -> ir.Model:
    """Return a copy of the graph where one node is rounded as its int8 form rounds."""
    copy = model.clone()
    twin = next(other for other in copy.graph if other.name == node.name)
    settled = settle_scales(placement, table.ranges)
    chosen = {str(value.name): choose_quantizer(found, placement.form) for value, found in settled.items()}
    sources = {str(value.name) for value in data_inputs(node)} & chosen.keys()
    if is_op(node, *WEIGHTED):
        _round_weights(twin, chosen[str(data_inputs(node)[0].name)], config)
    for index, value in enumerate(twin.inputs):
        if value is not None and value.name in sources:
            twin.replace_input_with(index, _round(copy.graph, value, chosen[str(value.name)], before=twin))
    result = next((value for value in _results(twin) if value.name in chosen), None)
    if result is not None:
        readers = tuple(result.uses())
        rounded = _round(copy.graph, result, chosen[str(result.name)])
        for use in readers:
            use.node.replace_input_with(use.idx, rounded)
    return copy


def _results(node: ir.Node) -> Iterator[ir.Value]:
    """Yield what a node gives, and what an activation makes of it that alone reads it."""
    yield node.outputs[0]
    uses = tuple(node.outputs[0].uses())
    if len(uses) == 1 and clip_range(uses[0].node) is not None:
        yield uses[0].node.outputs[0]


def _round_weights(node: ir.Node, source: Quantizer, config: QuantizeConfig) -> None:
    """Add the rounding error to a layer's weights, a Gemm's alpha being 1 or divided out again."""
    weight = node.inputs[1]
    assert weight is not None and weight.const_value is not None
    alpha = node.attributes["alpha"].value if "alpha" in node.attributes else 1.0
    rounded = weight.const_value.numpy() + weight_error(node, source.scale, config) / alpha
    assert isinstance(node.graph, ir.Graph)
    node.replace_input_with(1, add_constant(node.graph, f"{weight.name}_rounded", rounded.astype(np.float32)))


def _round(graph: ir.Graph, value: ir.Value, chosen: Quantizer, *, before: ir.Node | None = None) -> ir.Value:
    """Put a Q/DQ pair behind a value, before that node, and return its result; nobody reads it yet."""
    constants = [
        add_constant(graph, f"{value.name}_scale", np.asarray(chosen.scale)),
        add_constant(graph, f"{value.name}_zero_point", np.asarray(chosen.zero_point)),
    ]
    pair: Sequence[ir.Node] = ()
    source = value
    for op_type in ("QuantizeLinear", "DequantizeLinear"):
        node = ir.node(op_type, [source, *constants], name=unique_name(graph, f"{value.name}_{op_type}_alone"))
        source = node.outputs[0]
        source.name = node.name
        pair = (*pair, node)
    source.type, source.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
    producer = value.producer()
    if before is not None:
        graph.insert_before(before, pair)
    else:
        assert producer is not None
        graph.insert_after(producer, pair)
    return source
