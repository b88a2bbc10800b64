"""The graphs that peaks are measured with: valid ONNX, the stated work, integers where they say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench.peaks.peakgraphs import PeakGraph, float_graphs, int8_graphs
from edgecnn.profiling.layers import analyse
from edgecnn.runtimes import OpenOptions, open_session

onnx = pytest.importorskip("onnx")
GRAPHS = [*(("fp32", graph) for graph in float_graphs()), *(("int8", graph) for graph in int8_graphs())]
IDS = [f"{number}-{graph.name}" for number, graph in GRAPHS]


@pytest.mark.parametrize(("number", "graph"), GRAPHS, ids=IDS)
def test_a_graph_is_valid_and_states_its_work(number: str, graph: PeakGraph, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(graph.content)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    analysed = analyse(load_artifact(path), batch=384 if graph.name == "matmul" else 1)
    cost = analysed.costs.of(analysed.graph.nodes)
    assert cost.macs == graph.macs
    assert cost.weight_dtypes == ("int8" if number == "int8" else "float32",)


def test_graphs_are_reproducible() -> None:
    assert [graph.content for graph in float_graphs()] == [graph.content for graph in float_graphs()]
    assert [graph.content for graph in int8_graphs()] == [graph.content for graph in int8_graphs()]


def test_the_int8_graph_computes_what_the_float_graph_does(tmp_path: Path) -> None:
    """So it is no empty shell: signal over quantization noise is far above 1, and values neither vanish nor saturate."""
    answers = []
    for number, graph in (("fp32", float_graphs()[1]), ("int8", int8_graphs()[1])):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(graph.content)
        with open_session(load_artifact(path), backend="cpu", options=OpenOptions(threads=1)) as session:
            values = np.random.default_rng(0).standard_normal(session.inputs[0].shape, np.float32)
            answers.append(session.run({"input": values})["output"])
    assert 0.8 < answers[0].std() < 1.2
    assert np.abs(answers[0] - answers[1]).std() < 0.15 * answers[0].std()
