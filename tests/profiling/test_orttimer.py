"""Reading ONNX Runtime's profile: events as it writes them, and a real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import InferenceError
from edgecnn.onnxgraph import OnnxNode
from edgecnn.profiling.orttimer import OrtTimer, node_times
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.models import TINY


def kernel(name: str, us: int, op: str = "Conv") -> dict[str, Any]:
    args = {"op_name": op, "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": args}


def run_end(us: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "dur": us, "args": {}}


LOADING = {"cat": "Session", "name": "session_initialization", "dur": 22236, "args": {}}


def test_times_are_those_of_the_runs_behind_the_warm_up() -> None:
    events = [LOADING, kernel("a", 900), kernel("b", 900), run_end(2000)]
    for _ in range(8):
        events += [kernel("a", 10), kernel("b", 4, "Relu"), run_end(20)]
    found = node_times(events, (), skip=1)
    # Half a microsecond is what the profiler drops on average.
    assert [(one.name, one.op_type, one.time_ns) for one in found.nodes] == [("a", "Conv", 10500), ("b", "Relu", 4500)]
    assert found.constant_cost


def test_nodes_of_one_name_stay_apart_and_find_their_outputs() -> None:
    events = [kernel("fused ", 3, "FusedConv"), kernel("fused ", 5, "FusedConv"), kernel("g", 1, "Gemm"), run_end(9)]
    nodes = [
        OnnxNode(name=name, op_type=op, domain="", inputs=(), outputs=(out,))
        for name, op, out in (("first", "FusedConv", "x"), ("second", "FusedConv", "y"), ("g", "Gemm", "z"))
    ]
    found = node_times(events, nodes, skip=0)
    assert [(one.time_ns, one.outputs) for one in found.nodes] == [(3500, ("x",)), (5500, ("y",)), (1500, ("z",))]


@pytest.mark.parametrize("events", [[], [LOADING], [LOADING, run_end(5)]])
def test_a_profile_without_a_run_is_an_error(events: list[dict[str, Any]]) -> None:
    with pytest.raises(InferenceError, match="no run with nodes"):
        node_times(events, (), skip=0)


def test_a_real_profile_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    feeds = {"input": np.zeros((2, 1, 8, 8), np.float32)}
    timer = OrtTimer(load_artifact(TINY), OpenOptions(threads=1), feeds)
    assert list(tmp_path.glob("edgecnn-*"))
    walls = timer.run(feeds, 3)
    found = timer.finish(skip=1)
    assert not list(tmp_path.glob("edgecnn-*"))
    assert len(walls) == 3
    assert min(walls) > 0
    assert found.call_ns is not None
    assert {one.provider for one in found.nodes} == {"CPUExecutionProvider"}
    assert any(one.outputs == ("logits",) for one in found.nodes)
