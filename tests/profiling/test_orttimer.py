"""Reading ONNX Runtime's profile: events as it writes them, and a real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.errors import InferenceError
from edgecnn.onnxmodel.graph import OnnxNode
from edgecnn.profiling.orttimer import OrtTimer, node_times
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.models import TINY


def kernel(name: str, us: int, op: str = "Conv") -> dict[str, Any]:
    args = {"op_name": op, "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": args}


def a_run(begin_us: int, *kernels: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a run's events as they end: its own event last, with the time at which it began."""
    events, now = [], begin_us
    for one in kernels:
        events.append({**one, "ts": now})
        now += one["dur"] + 3
    return [*events, {"cat": "Session", "name": "model_run", "ts": begin_us, "dur": now - begin_us, "args": {}}]


LOADING = {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 22236, "args": {}}


def eight_runs() -> list[dict[str, Any]]:
    events = [LOADING, *a_run(30_000, kernel("a", 900), kernel("b", 900))]
    for place in range(8):
        events += a_run(40_000 + 100 * place, kernel("a", 10), kernel("b", 4, "Relu"))
    return events


def by_start(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda event: (event["ts"], event["name"] != "model_run"))


def swapped(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # What begins in one microsecond may stand in any order.
    return sorted(events, key=lambda event: (event["ts"], event["name"] == "model_run"))


@pytest.mark.parametrize("order", [list, by_start, swapped])
def test_times_are_those_of_the_runs_behind_the_warm_up(order: Callable[[list[Any]], list[Any]]) -> None:
    found = node_times(order(eight_runs()), (), skip=1)
    # Half a microsecond is what the profiler drops on average.
    assert [(one.name, one.op_type, one.time_ns) for one in found.nodes] == [("a", "Conv", 10500), ("b", "Relu", 4500)]


def test_nodes_of_one_name_stay_apart_and_find_their_outputs() -> None:
    events = a_run(9, kernel("fused ", 3, "FusedConv"), kernel("fused ", 5, "FusedConv"), kernel("g", 1, "Gemm"))
    nodes = [
        OnnxNode(name=name, op_type=op, domain="", inputs=(), outputs=(out,))
        for name, op, out in (("first", "FusedConv", "x"), ("second", "FusedConv", "y"), ("g", "Gemm", "z"))
    ]
    found = node_times(events, nodes, skip=0)
    assert [(one.time_ns, one.outputs) for one in found.nodes] == [(3500, ("x",)), (5500, ("y",)), (1500, ("z",))]


@pytest.mark.parametrize("events", [[], [LOADING], [LOADING, *a_run(5)]])
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
    assert 0 < found.node_cost_ns < 1e6
    assert {one.provider for one in found.nodes} == {"CPUExecutionProvider"}
    assert any(one.outputs == ("logits",) for one in found.nodes)
