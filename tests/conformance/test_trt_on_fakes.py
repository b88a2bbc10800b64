"""The public conformance suite on backend trt where there is no GPU: the whole backend, over a fake CUDA and TensorRT.

What the fakes hold the backend to besides the answers (addresses, streams, lifetimes) is checked after every test.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecnn.testing.conformance import *
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT


@pytest.fixture(params=["10.3.0", "11.4.0.106"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    cuda = FakeCudart()
    trt = FakeTensorRT(cuda, version=request.param)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield "trt"
    assert cuda.faults == []
    assert cuda.live() == []
    assert list(trt.engines) == []
