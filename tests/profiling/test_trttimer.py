"""Layer times of backend trt, over a fake CUDA and TensorRT."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.profiling.layers import analyse
from edgecnn.profiling.profile import assemble
from edgecnn.profiling.worker import ProfileJob, perform
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.models import TINY


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0.106"])
def test_layers_of_an_engine_are_timed(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cuda = FakeCudart()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(cuda, version=version))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    artifact = load_artifact(TINY)
    job = ProfileJob(artifact=artifact, backend="trt", options=OpenOptions(max_batch=2), batch=2, seconds=0.02, nodes=8)
    raw = perform(job)
    assert raw.nodes
    assert {one.provider for one in raw.nodes} == {"TensorRT"}
    assert len(raw.plain_ns) == len(raw.profiled_ns)
    found = assemble(raw, artifact, analyse(artifact, batch=2), batch=2, calibration=None)
    assert sum(layer.time_ns for layer in found.layers) == pytest.approx(found.total_ns)
    assert found.no_roofline == "the limits of backend trt are not measured"
    assert cuda.faults == []
    assert cuda.live() == []
