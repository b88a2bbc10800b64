"""What the tests of running engines share: a small known function as a fake engine, and a session on it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.nvidia.cudart import probe
from edgecnn.runtimes.trt.execution import Built, TrtSession
from edgecnn.runtimes.trt.logger import engine_logger
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.fakecuda import FakeCudart
from edgecnn.testing.faketrt import FakeTensorRT
from edgecnn.testing.faketrtengine import FakeEngine
from edgecnn.testing.faketrtmodel import FakeModel, FakeTensor

LARGEST = 16


def answer(feeds):
    """Two outputs of two inputs, the second of another type."""
    x = feeds["x"]
    return {"sum": x.sum((2, 3)) * feeds["scale"], "rank": x.reshape(len(x), -1).argmax(1)}


MODEL = FakeModel(
    inputs=(
        FakeTensor(name="x", dtype="float32", shape=(-1, 3, 4, 5)),
        FakeTensor(name="scale", dtype="float32", shape=(3,)),
    ),
    outputs=(
        FakeTensor(name="sum", dtype="float32", shape=(-1, 3)),
        FakeTensor(name="rank", dtype="int64", shape=(-1,)),
    ),
    function=answer,
    layers=(
        ("quantize", "Reformat", "FP32", "INT8"),
        ("conv1 + relu1", "CaskConvolution", "INT8", "INT8"),
        ("fc", "CaskGemmConvolution", "INT8", "FP32"),
        ("softmax", "SoftMax", "FP32", "FP32"),
    ),
)

SPEC = ModelSpec(
    network="known",
    inputs=(
        TensorSpec(name="x", dtype="float32", shape=("N", 3, 4, 5)),
        TensorSpec(name="scale", dtype="float32", shape=(3,)),
    ),
    outputs=(
        TensorSpec(name="sum", dtype="float32", shape=("N", 3)),
        TensorSpec(name="rank", dtype="int64", shape=("N",)),
    ),
)

ARTIFACT = Artifact(
    path=Path("known.onnx"),
    format="onnx",
    precision="fp32",
    sha256=None,
    size_bytes=1,
    spec=SPEC,
    opset=18,
    ir_version=8,
)


def feeds(batch, seed=0):
    """Feeds of a batch."""
    generator = np.random.default_rng(seed)
    return {
        "x": generator.normal(size=(batch, 3, 4, 5)).astype(np.float32),
        "scale": generator.normal(size=3).astype(np.float32),
    }


def same(got, wanted):
    """Tell whether two answers are equal, bit for bit and in type."""
    return list(got) == list(wanted) and all(
        got[name].dtype == wanted[name].dtype and np.array_equal(got[name], wanted[name]) for name in wanted
    )


class Bench:
    """A fake GPU, a fake TensorRT, and sessions on them.

    Args:
        version: of TensorRT.
        model: what its engines compute.
        devices: GPUs of the machine.
    """

    def __init__(self, version="11.4.0.106", model=MODEL, devices=None, detailed=True):
        self.cuda = FakeCudart(devices) if devices else FakeCudart()
        self.trt = FakeTensorRT(self.cuda, version=version)
        self.model = model
        self.detailed = detailed

    def open(self, artifact=ARTIFACT, *, ordinal=0, **engine):
        """Return a session; the only reference to its engine is the session's."""
        device = probe(self.cuda, ordinal)
        runtime = self.trt.Runtime(engine_logger(self.trt))
        ranges = {
            one.name: tuple(
                tuple(batch if size < 0 else size for size in one.shape) for batch in (1, LARGEST // 2, LARGEST)
            )
            for one in self.model.inputs
        }
        made = FakeEngine(self.trt, self.model, ranges, self.detailed)
        built = Built(from_cache=False, options={"tf32": False}, keeps=(runtime,))
        return TrtSession(made, self.trt, self.cuda, artifact, OpenOptions(engine=engine), built, device=device)

    def clean(self):
        """Assert that nothing was done wrong and nothing is left."""
        assert self.cuda.faults == []
        assert self.cuda.live() == []
        assert list(self.trt.engines) == []


@pytest.fixture
def kit():
    """All of the above; a folder of tests shares nothing else."""
    return SimpleNamespace(
        Bench=Bench, MODEL=MODEL, SPEC=SPEC, ARTIFACT=ARTIFACT, LARGEST=LARGEST, answer=answer, feeds=feeds, same=same
    )


@pytest.fixture
def bench():
    """A fake GPU with a fake TensorRT; at the end nothing was done wrong and nothing is left."""
    made = Bench()
    yield made
    made.clean()
