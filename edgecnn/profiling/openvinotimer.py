"""The time of each node by OpenVINO's own counters (PERF_COUNT), and the nodes of the file that it was fused from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError, first_line
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.timers import NodeTimes, call_ns, typical
from edgecnn.runtimes.base import Feeds, OpenOptions
from edgecnn.runtimes.openvino import DEVICE
from edgecnn.runtimes.openvinooptions import properties_of
from edgecnn.specs import Artifact

_RESOLUTION_NS = 1000

# Without its own entry: a parameter, a result, a constant that was made when the model was compiled.
_EXECUTED = "EXECUTED"


class OpenVinoTimer:
    """A compiled model of backend openvino that counts the time of its nodes.

    Args:
        artifact: the model.
        options: as for the backend.
        feeds: of the shapes that it is compiled for.
    """

    def __init__(self, artifact: Artifact, options: OpenOptions, feeds: Feeds) -> None:
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(str(artifact.path))
            model.reshape({name: list(array.shape) for name, array in feeds.items()})
            self._compiled = core.compile_model(model, DEVICE, {**properties_of(options), "PERF_COUNT": True})
        except RuntimeError as error:
            raise BadInput(f"openvino cannot load {artifact.path}: {first_line(error)}", "export it again") from error
        self._request = self._compiled.create_infer_request()
        self._counts: list[list[Any]] = []
        self._call_ns = call_ns("openvino", options, feeds)

    def run(self, feeds: Feeds, runs: int) -> Sequence[float]:
        """Run with counters on and return the duration of each run, in nanoseconds."""
        durations = []
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        for _ in range(runs):
            begin = time.perf_counter_ns()
            self._request.infer(arrays)
            durations.append(float(time.perf_counter_ns() - begin))
            self._counts.append([(one.node_name, str(one.status), one.real_time) for one in self._told()])
        return durations

    def _told(self) -> Any:
        return self._request.get_profiling_info()

    def finish(self, *, skip: int) -> NodeTimes:
        """Return the times of all runs but the first ones, and let the engine go.

        Raises:
            InferenceError: no node was executed.
        """
        try:
            return self._found(skip)
        finally:
            # Before the interpreter ends, when the engine's library may be gone already.
            del self._request, self._compiled

    def _found(self, skip: int) -> NodeTimes:
        kinds = {one.node_name: (one.node_type, one.exec_type) for one in self._told()}
        origins = _origins(self._compiled)
        times: dict[str, list[float]] = {}
        for run in self._counts[skip:]:
            for name, status, spent in run:
                if status.endswith("." + _EXECUTED) or status == _EXECUTED:
                    times.setdefault(name, []).append(1e9 * spent.total_seconds())
        if not times:
            raise InferenceError("openvino reported no executed node")
        nodes = tuple(
            EngineNode(
                name=name,
                op_type=kinds[name][0],
                provider=DEVICE,
                time_ns=typical(samples),
                originals=origins.get(name, ()),
            )
            for name, samples in times.items()
        )
        return NodeTimes(nodes=nodes, call_ns=self._call_ns, resolution_ns=_RESOLUTION_NS)


def _origins(compiled: Any) -> Mapping[str, tuple[str, ...]]:
    """Return node of the execution graph -> the nodes of the file that it stands for."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        if "originalLayersNames" in told:
            names = told["originalLayersNames"].astype(str)
            found[node.get_friendly_name()] = tuple(filter(None, names.split(",")))
    return found
