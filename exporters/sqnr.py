"""How far the tensors inside two forms of a model are apart: signal over quantization noise, layer by layer.

Tensors are matched by name. A quantizer leaves "x_dequantized" for the "x" of the fp32 graph, see
`edgecnn.exporters.quantize.emit`; a 16-bit graph keeps the names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgecnn.artifacts import load_artifact
from edgecnn.data import Dataset
from edgecnn.errors import BadInput
from edgecnn.exporters.channelpower import ChannelPower, Match
from edgecnn.exporters.compare import RANDOM_INPUTS, Answers, Side, answers_on_images, answers_on_random
from edgecnn.exporters.macs import layer_macs
from edgecnn.exporters.passes.values import dimensions, is_op, only_use, unique_name
from edgecnn.exporters.quantize.calibration_images import spread
from edgecnn.exporters.quantize.checks import check_graph, read_graph
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact

Progress = Callable[[int, int], None]

LAYER_IMAGES = 64
"""Images of the evaluation set that tensors are compared on, evenly spread over it."""

Precision = Literal["int8", "fp16", "bf16", "fp32"]

_PRECISIONS: Mapping[ir.DataType | None, Precision] = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}

# Of the tensors of both files that are held at a time.
_BUDGET_BYTES = 128 << 20
_MAX_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One tensor of the reference beside the one that takes its place.

    Attributes:
        tensor: its name in the reference.
        nodes: names of the nodes of the reference that make it, from the last tensor that was compared on.
        op_types: their operators.
        precision: of the tensor in the file.
        sqnr_db: power of the reference over that of the difference, dB; None where nothing differs, or where there is no
            signal or no number, or the channels are in another order.
        low: least value in the reference.
        high: greatest value in the reference.
        macs_share: share of the nodes in the multiply-adds of the reference, 0..1; None where that is not known.
        match: "scaled" where a rewrite gave each channel a factor, which is taken out; "reordered" where it moved channels.
    """

    tensor: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    precision: Precision
    sqnr_db: float | None
    low: float
    high: float
    macs_share: float | None
    match: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """The tensors of two files.

    Attributes:
        reference: the other file.
        inputs: how many images, or random inputs.
        source: "random", or the data set.
        layers: in the order of the reference.
        worst: name of the tensor with the least signal over noise; None where none has any noise.
        unmatched: how many tensors of the reference are not in the file, or in another shape.
    """

    reference: str
    inputs: int
    source: str
    layers: tuple[Layer, ...]
    worst: str | None
    unmatched: int


def compare_layers(
    artifact: Artifact,
    reference: Artifact,
    evaluation: Dataset | None = None,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> LayerReport:
    """Return signal over noise of every tensor that two files have in common.

    Args:
        artifact: an int8 or 16-bit file.
        reference: the fp32 file that it was made from.
        evaluation: its test images are run; None runs random inputs.
        backend: what runs both files.
        threads: of the backend; None leaves it to the backend.
        seed: of random inputs.
        on_progress: called with images done and images in all.

    Raises:
        BadInput: the files have no tensor in common, or read different inputs.
        UnsupportedOp: one has control flow.
    """
    models = [_read(one) for one in (artifact, reference)]
    pairs, missing = _match(*models)
    if not pairs:
        raise BadInput(
            f"tensors of {artifact.path}",
            "compare a file with the one that it was made from",
            expected=f"some with the names of {reference.path}",
            got="none",
        )
    powers = {pair.tensor: ChannelPower() for pair in pairs}
    batch, count = _batch(pairs), RANDOM_INPUTS
    with (
        _open(artifact, models[0], {one.tensor: one.mine for one in pairs}, backend, threads) as mine,
        _open(reference, models[1], {one.tensor: one.theirs for one in pairs}, backend, threads) as theirs,
    ):
        if evaluation is None:
            answers = answers_on_random(mine, theirs, seed=seed, most=batch)
        else:
            split = spread(evaluation.split("test"), LAYER_IMAGES)
            count = len(split)
            answers = answers_on_images(mine, theirs, split, most=batch, on_progress=on_progress)
        for given, expected in answers:
            for name, power in powers.items():
                power.add(given[name], expected[name])
    source = "random" if evaluation is None else evaluation.name
    rewritten = _is_rewritten(artifact)
    layers = tuple(_layer(pair, powers[pair.tensor], rewritten) for pair in pairs if powers[pair.tensor].same_shape)
    known = [layer for layer in layers if layer.sqnr_db is not None]
    return LayerReport(
        reference=str(reference.path),
        inputs=count,
        source=source,
        layers=layers,
        worst=min(known, key=lambda layer: layer.sqnr_db or 0.0).tensor if known else None,
        unmatched=missing + len(pairs) - len(layers),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A tensor of the reference and what takes its place."""

    tensor: str
    mine: ir.Value
    theirs: ir.Value
    nodes: tuple[ir.Node, ...]
    macs_share: float | None


def _match(model: ir.Model, reference: ir.Model) -> tuple[list[_Pair], int]:
    """Return the tensors that both have, in the order of the reference, and how many of its tensors the other has not."""
    values = {str(value.name): value for node in model.graph for value in node.outputs}
    macs = layer_macs(reference)
    total = sum(macs.values())
    chains: dict[ir.Node, list[ir.Node]] = {}
    pairs, missing = [], 0
    for node in reference.graph:
        nodes = [*chains.pop(node, []), node]
        theirs = node.outputs[0]
        mine = _counterpart(values, str(theirs.name))
        if theirs.dtype != ir.DataType.FLOAT:
            continue
        if mine is None:
            missing += str(theirs.name) not in values
            reader = only_use(theirs)
            if reader is not None:
                chains.setdefault(reader, []).extend(nodes)
            continue
        share = sum(macs.get(one, 0) for one in nodes) / total if total else None
        pairs.append(
            _Pair(tensor=str(theirs.name), mine=mine, theirs=theirs, nodes=tuple(nodes), macs_share=share),
        )
    return pairs, missing


def _counterpart(values: Mapping[str, ir.Value], name: str) -> ir.Value | None:
    """Return what takes the place of a tensor: what its quantizer gives, or else the tensor itself.

    It does not where the activation behind it joined its quantizer, which then carries that one's name: the two are one layer.
    """
    dequantized = values.get(f"{name}_dequantized")
    if dequantized is not None and is_op(dequantized.producer(), "DequantizeLinear"):
        return dequantized
    value = values.get(name)
    if value is None or value.dtype not in _PRECISIONS:
        return None
    joined = any(is_op(use.node, "QuantizeLinear") for use in value.uses())
    return None if joined else value


def _is_rewritten(artifact: Artifact) -> bool:
    """Tell whether a file says that its graph was rewritten, which may scale or move channels of tensors inside."""
    return any(step.options.get("equalized") or step.options.get("passes") for step in artifact.lineage)


def _layer(pair: _Pair, power: ChannelPower, rewritten: bool) -> Layer:
    quantized = is_op(pair.mine.producer(), "DequantizeLinear")
    match, sqnr_db = power.result(rewritten=rewritten and not pair.theirs.is_graph_output())
    return Layer(
        tensor=pair.tensor,
        nodes=tuple(str(node.name or node.outputs[0].name) for node in pair.nodes),
        op_types=tuple(node.op_type for node in pair.nodes),
        precision="int8" if quantized else _PRECISIONS[pair.mine.dtype],
        sqnr_db=sqnr_db,
        low=power.low,
        high=power.high,
        macs_share=pair.macs_share,
        match=match,
    )


def _read(artifact: Artifact) -> ir.Model:
    model = read_graph(artifact.path)
    check_graph(model, artifact.path)
    if any(value.dtype is None or value.shape is None for node in model.graph for value in node.outputs):
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    return model


def _batch(pairs: Sequence[_Pair]) -> int:
    """Return how many inputs may run at a time, judged by the sizes that are known."""
    sizes = [np.prod([side or 1 for side in (dimensions(pair.theirs) or (1,))[1:]], initial=1) for pair in pairs]
    each = 2 * 4 * int(sum(sizes))
    return max(1, min(_MAX_BATCH, _BUDGET_BYTES // max(1, each)))


@contextmanager
def _open(
    artifact: Artifact, model: ir.Model, wanted: Mapping[str, ir.Value], backend: str, threads: int | None
) -> Iterator[Side]:
    """Yield a file that gives tensors inside, each by the name that it is wanted by, as its backend computes them."""
    outputs = _add_outputs(model, wanted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / artifact.path.name
        ir.save(model, path)
        probe = load_artifact(path, checksum=False)
        with open_session(probe, backend=backend, options=OpenOptions(threads=threads)) as session:
            source = session.inputs[0]

            def run(feed: Array) -> Answers:
                answers = session.run({source.name: feed})
                return {tensor: answers[name] for tensor, name in outputs.items()}

            yield Side(name=str(artifact.path), source=source, targets=(), preprocess=artifact.spec.preprocess, run=run)


def _add_outputs(model: ir.Model, wanted: Mapping[str, ir.Value]) -> dict[str, str]:
    """Let a model give tensors, in float32, and return which of its outputs each is."""
    outputs = {}
    graph = model.graph
    for tensor, value in wanted.items():
        given = value if value.dtype == ir.DataType.FLOAT else _as_float(graph, value)
        if not given.is_graph_output():
            graph.outputs.append(given)
        outputs[tensor] = str(given.name)
    return outputs


def _as_float(graph: ir.Graph, value: ir.Value) -> ir.Value:
    node = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=unique_name(graph, f"{value.name}_as_float"))
    result = node.outputs[0]
    result.name, result.shape, result.type = node.name, value.shape, ir.TensorType(ir.DataType.FLOAT)
    graph.append(node)
    return result
