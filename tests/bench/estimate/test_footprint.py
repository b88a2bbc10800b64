"""Liveness by hand on small graphs, and against what an engine takes on real ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_job, make_plan, measure_interleaved
from edgecnn.bench.estimate.footprint import footprint, footprint_of
from edgecnn.onnxmodel.graph import OnnxConstant, OnnxGraph, OnnxNode
from edgecnn.onnxmodel.shapes import TensorType
from edgecnn.runtimes.base import OpenOptions
from edgecnn.testing.models import TINY


def _node(op_type: str, inputs: str, output: str) -> OnnxNode:
    return OnnxNode(name=output, op_type=op_type, domain="", inputs=tuple(inputs.split()), outputs=(output,))


def _graph(nodes: Sequence[OnnxNode], **weights: tuple[int, ...]) -> OnnxGraph:
    constants = {name: OnnxConstant(dtype="float32", shape=shape, values=None) for name, shape in weights.items()}
    return OnnxGraph(nodes=tuple(nodes), constants=constants)


def _activations(nodes: Sequence[OnnxNode], *, batch: int = 1, **weights: tuple[int, ...]) -> int | None:
    found = footprint(_graph(nodes, **weights), {"x": TensorType("float32", (batch, 4, 10, 10))})
    return found.activations_bytes


# Of one image: 4 channels of 10 x 10 floats are 1600 bytes, 8 channels 3200.
W4, W8, W84 = (4, 4, 1, 1), (8, 4, 1, 1), (4, 8, 1, 1)


def test_two_layers_after_each_other_are_alive_together() -> None:
    nodes = [_node("Conv", "x w", "a"), _node("Conv", "a v", "b"), _node("Conv", "b w", "c")]
    assert _activations(nodes, w=W8, v=W84) == 3200 + 1600
    assert _activations(nodes, batch=16, w=W8, v=W84) == 16 * (3200 + 1600)


def test_an_activation_works_in_place_unless_its_input_is_read_later() -> None:
    nodes = [_node("Conv", "x w", "a"), _node("Relu", "a", "b")]
    assert _activations(nodes, w=W8) == 3200
    assert _activations([*nodes, _node("Add", "a b", "c")], w=W8) == 3 * 3200


def test_a_sum_alone_does_not_write_over_its_terms() -> None:
    nodes = [_node("Relu", "x", "a"), _node("Sigmoid", "x", "b"), _node("Add", "a b", "c"), _node("Softmax", "c", "d")]
    assert _activations([*nodes, _node("Conv", "d w", "e")], w=W8) == max(3 * 1600, 1600 + 3200)


def test_a_shortcut_is_added_by_the_convolution_before_it_where_an_activation_follows() -> None:
    nodes = [
        _node("Conv", "x w", "a"),
        _node("Conv", "a w", "b"),
        _node("Relu", "b", "c"),
        _node("Conv", "c w", "d"),
        _node("Add", "d a", "e"),
        _node("Relu", "e", "f"),
    ]
    assert _activations([*nodes, _node("Conv", "f v", "g")], w=W4, v=(1, 4, 1, 1)) == 2 * 1600
    assert _activations([*nodes[:5], _node("Conv", "e v", "g")], w=W4, v=(1, 4, 1, 1)) == 3 * 1600


def test_a_view_takes_nothing_and_keeps_what_it_looks_at() -> None:
    nodes = [
        _node("Conv", "x w", "a"),
        _node("Flatten", "a", "b"),
        _node("Conv", "a w", "c"),
        _node("Flatten", "c", "d"),
    ]
    assert _activations([*nodes, _node("Add", "b d", "e")], w=W4) == 3 * 1600
    assert _activations([*nodes[:2], _node("Softmax", "b", "c")], w=W4) == 2 * 1600


def test_the_inputs_belong_to_the_caller_and_weights_are_counted_once() -> None:
    nodes = [_node("Conv", "x w", "a"), _node("Conv", "x w", "b"), _node("Add", "a b", "c")]
    found = footprint(_graph(nodes, w=W8), {"x": TensorType("float32", (1, 4, 10, 10))})
    assert (found.activations_bytes, found.weights_bytes) == (3 * 3200, 4 * 8 * 4)


def test_between_quantize_and_dequantize_there_are_only_bytes() -> None:
    nodes = [
        _node("QuantizeLinear", "x s z", "xq"),
        _node("DequantizeLinear", "xq s z", "xd"),
        _node("Conv", "xd w", "a"),
        _node("Relu", "a", "b"),
        _node("QuantizeLinear", "b s z", "q"),
        _node("DequantizeLinear", "q s z", "y"),
    ]
    graph = _graph(nodes, w=W8, s=())
    constants = {**graph.constants, "z": OnnxConstant(dtype="uint8", shape=(), values=None)}
    found = footprint(replace(graph, constants=constants), {"x": TensorType("float32", (1, 4, 10, 10))})
    # Two copies between the layouts of channels, 400 bytes and 800, and the answer is float32 again.
    assert found.activations_bytes == max(400 + 400, 400 + 800, 800 + 800, 800 + 3200)


def test_what_cannot_be_told_is_said() -> None:
    found = footprint(
        _graph([_node("Mystery", "x", "a"), _node("Relu", "a", "b")]), {"x": TensorType("float32", (1, 4))}
    )
    assert found.activations_bytes is None
    assert found.note == "shapes behind Mystery, Relu cannot be told"


def test_a_file_that_is_no_graph_has_none(tmp_path: Path) -> None:
    artifact = load_artifact(TINY)
    assert footprint_of(replace(artifact, format="engine"), batch=1) is None
    assert footprint_of(replace(artifact, path=tmp_path / "gone.onnx"), batch=1) is None
    one, four = (footprint_of(artifact, batch=batch) for batch in (1, 4))
    assert one is not None
    assert four is not None
    assert (one.weights_bytes, one.session_bytes) == (four.weights_bytes, four.session_bytes)
    assert one.activations_bytes is not None
    assert four.activations_bytes is not None
    assert one.activations_bytes < four.activations_bytes <= 4 * one.activations_bytes
    other = footprint_of(artifact, batch=1, backend="openvino")
    assert other is not None
    assert (other.session_bytes, other.note) == (None, "without the engine's workspace and its own layout of weights")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet20", "mobilenet_v1", "squeezenet1_1"])
def test_the_estimate_is_what_an_engine_takes(tmp_path: Path, network: str) -> None:
    """Bundled networks of 32 pixels with the arena off, within 15%, whatever the batch."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    path = _exported(network, tmp_path)
    for batch in (1, 16):
        plan = make_plan(batch=batch, seconds=0.05, min_runs=1, warmup_runs=1)
        job = make_job(load_artifact(path), plan=plan, options=OpenOptions(threads=1, arena=False))
        (record,) = measure_interleaved([replace(job, memory=True)])
        measured = record.metric("memory_run")
        if measured is None:
            pytest.skip("this system does not tell what a run takes")
        assert record.footprint is not None
        assert record.footprint.activations_bytes == pytest.approx(measured.median, rel=0.15)


def _exported(network: str, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "edgecnn", "export", network],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (path,) = (folder / "models").glob("*.onnx")
    return path
