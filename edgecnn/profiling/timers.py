"""How an engine is asked for the time of each layer: one protocol, one file per engine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.errors import Contradiction
from edgecnn.onnxmodel.write import Op, model_file
from edgecnn.profiling.matching import EngineNode
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Feeds, OpenOptions
from edgecnn.specs import Artifact, TensorSpec

_TIMERS: Mapping[str, str] = {
    "cpu": "edgecnn.profiling.orttimer:OrtTimer",
    "openvino": "edgecnn.profiling.openvinotimer:OpenVinoTimer",
    "trt": "edgecnn.profiling.trttimer:TrtTimer",
}

_CALLS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimes:
    """What a timer found out.

    Attributes:
        nodes: in the order of execution, each with the time of one run.
        call_ns: of one run, what lies outside of the engine's own execution: the way from Python and back; None where
            the engine does not tell.
        resolution_ns: smallest difference that the engine's times can show.
        node_cost_ns: that profiling adds to the time of every node, see `edgecnn.profiling.unprofiled`; 0 where the engine's
            clock leaves it out.
    """

    nodes: tuple[EngineNode, ...]
    call_ns: float | None
    resolution_ns: int
    node_cost_ns: float = 0.0


class LayerTimer(Protocol):
    """A session that measures its layers; it is open from the beginning to `finish`."""

    def run(self, feeds: Feeds, runs: int) -> Sequence[float]:
        """Run with profiling on and return the duration of each run, in nanoseconds."""
        ...

    def finish(self, *, skip: int) -> NodeTimes:
        """Return the times of all runs but the first ones, and close.

        Args:
            skip: runs that were warm-up.
        """
        ...


OpenTimer = Callable[[Artifact, OpenOptions, Feeds], LayerTimer]


def timer_names() -> tuple[str, ...]:
    """Return the backends whose layers can be timed."""
    return tuple(_TIMERS)


def check_timer(backend: str) -> None:
    """Return if a backend's layers can be timed.

    Raises:
        Contradiction: they cannot.
    """
    if backend not in _TIMERS:
        raise Contradiction(
            f"backend {backend} does not tell the time of its layers",
            f"profile with --backend {', '.join(_TIMERS)}; edgecnn bench measures the whole network on any backend",
        )


def open_timer(backend: str, artifact: Artifact, options: OpenOptions, feeds: Feeds) -> LayerTimer:
    """Return a timer whose session is open.

    Args:
        backend: one of `timer_names`.
        artifact: the model.
        options: how the session is opened.
        feeds: what it will be run with.

    Raises:
        Contradiction: the backend's layers cannot be timed.
        EdgecnnError: as opening a session.
    """
    check_timer(backend)
    module, _, name = _TIMERS[backend].partition(":")
    opener: OpenTimer = getattr(import_module(module), name)
    return opener(artifact, options, feeds)


def call_ns(backend: str, options: OpenOptions, feeds: Feeds) -> float:
    """Return how long a run takes that does nothing: of a model that only tells the shape of the first of these inputs.

    A profiled session cannot tell: its profiler works at the beginning and end of a run as well.

    Args:
        backend: one that reads .onnx files.
        options: how its session is opened.
        feeds: of the model that is profiled.
    """
    inputs = [TensorSpec(name=name, dtype=array.dtype.name, shape=array.shape) for name, array in feeds.items()]
    outputs = [TensorSpec(name="told", dtype="int64", shape=(feeds[inputs[0].name].ndim,))]
    op = Op(op_type="Shape", inputs=(inputs[0].name,), output="told")
    with tempfile.TemporaryDirectory(prefix="edgecnn-call-") as folder:
        path = Path(folder) / "call.onnx"
        path.write_bytes(model_file("call", [op], {}, inputs, outputs))
        with open_session(load_artifact(path), backend=backend, options=options) as session:
            samples = []
            for _ in range(_CALLS):
                begin = time.perf_counter_ns()
                session.run(feeds)
                samples.append(float(time.perf_counter_ns() - begin))
    return typical(samples)


def typical(samples: Sequence[float]) -> float:
    """Return the mean of the middle half of the samples.

    As steady as the median against interrupted runs, and finer than it where times are whole microseconds.
    (Interquartile mean: Tukey's midmean, Exploratory Data Analysis 1977.)
    """
    ordered = np.sort(np.asarray(samples, np.float64))
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())
