"""How far the tensors inside two forms of a model are apart: signal over quantization noise, layer by layer.

Signal over noise is here the power of the reference over the power of the difference; `edgecnn.exporters.compare` has
another signal, what differs from image to image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgecnn.artifacts import load_artifact
from edgecnn.data import Dataset
from edgecnn.errors import BadInput
from edgecnn.exporters.channelpower import ChannelPower, Match
from edgecnn.exporters.compare import (
    RANDOM_INPUTS,
    Answers,
    Side,
    answers_on_images,
    answers_on_random,
    images_to_compare,
)
from edgecnn.exporters.layerpairs import Pair, Precision, match_tensors
from edgecnn.exporters.passes.values import dimensions, unique_name
from edgecnn.exporters.quantize.calibration_images import spread
from edgecnn.exporters.quantize.checks import check_graph, read_graph
from edgecnn.runtimes import OpenOptions, open_session
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact

Progress = Callable[[int, int], None]

LAYER_IMAGES = 64
"""Images of the evaluation set that tensors are compared on, evenly spread over it."""

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
        clipped: whether an activation further behind joined this tensor's quantizer; the reference was then clipped as well,
            `low` and `high` included.
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
    clipped: bool = False


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
    pairs, missing = match_tensors(*models)
    if not pairs:
        raise BadInput(
            f"tensors of {artifact.path}",
            "compare a file with the one that it was made from",
            expected=f"some with the names of {reference.path}",
            got="none",
        )
    powers = {pair.tensor: ChannelPower() for pair in pairs}
    with (
        _open(artifact, models[0], {one.tensor: one.mine for one in pairs}, backend, threads) as mine,
        _open(reference, models[1], {one.tensor: one.theirs for one in pairs}, backend, threads) as theirs,
    ):
        answers, count = _answers(mine, theirs, evaluation, _batch(pairs), seed, on_progress)
        for given, expected in answers:
            for pair in pairs:
                powers[pair.tensor].add(given[pair.tensor], pair.clip(expected[pair.tensor]))
    rewritten = _is_rewritten(artifact)
    layers = tuple(_layer(pair, powers[pair.tensor], rewritten) for pair in pairs if powers[pair.tensor].same_shape)
    known = [layer for layer in layers if layer.sqnr_db is not None]
    return LayerReport(
        reference=str(reference.path),
        inputs=count,
        source="random" if evaluation is None else evaluation.name,
        layers=layers,
        worst=min(known, key=lambda layer: layer.sqnr_db or 0.0).tensor if known else None,
        unmatched=missing + len(pairs) - len(layers),
    )


def _answers(
    mine: Side, theirs: Side, evaluation: Dataset | None, batch: int, seed: int, on_progress: Progress
) -> tuple[Iterator[tuple[Answers, Answers]], int]:
    """Return the tensors of both files in pairs, batch by batch, and of how many inputs they are."""
    if evaluation is None:
        return answers_on_random(mine, theirs, seed=seed, most=batch), RANDOM_INPUTS
    split = spread(images_to_compare(evaluation), LAYER_IMAGES)
    return answers_on_images(mine, theirs, split, most=batch, on_progress=on_progress), len(split)


def _is_rewritten(artifact: Artifact) -> bool:
    """Tell whether a file says that its graph was rewritten, which may scale or move channels of tensors inside."""
    return any(step.options.get("equalized") or step.options.get("passes") for step in artifact.lineage)


def _layer(pair: Pair, power: ChannelPower, rewritten: bool) -> Layer:
    match, sqnr_db = power.result(rewritten=rewritten and not pair.is_output)
    return Layer(
        tensor=pair.tensor,
        nodes=tuple(str(node.name or node.outputs[0].name) for node in pair.nodes),
        op_types=tuple(node.op_type for node in pair.nodes),
        precision=pair.precision,
        sqnr_db=sqnr_db,
        low=power.low,
        high=power.high,
        macs_share=pair.macs_share,
        match=match,
        clipped=pair.clipped is not None,
    )


def _read(artifact: Artifact) -> ir.Model:
    model = read_graph(artifact.path)
    check_graph(model, artifact.path)
    if any(value.dtype is None or value.shape is None for node in model.graph for value in node.outputs):
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    return model


def _batch(pairs: Sequence[Pair]) -> int:
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
