"""The time of each layer by TensorRT's profiler; a layer's name lists the nodes of the file that were fused into it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgecnn.errors import InferenceError
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.timers import NodeTimes, typical
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import Feeds, OpenOptions
from edgecnn.specs import Artifact

_PROVIDER = "TensorRT"

# cudaEvent times, which the profiler gives, "has a resolution of around 0.5 microseconds" (CUDA Runtime API).
_RESOLUTION_NS = 500


class TrtTimer:
    """A session of backend trt; its profiler waits after every layer.

    Args:
        artifact: the model.
        options: as for the backend.
        feeds: what it will be run with.
    """

    def __init__(self, artifact: Artifact, options: OpenOptions, feeds: Feeds) -> None:
        self._session: Any = open_session(artifact, backend="trt", options=options)
        self._runs: list[dict[str, float]] = []

    def run(self, feeds: Feeds, runs: int) -> Sequence[float]:
        """Run with profiling on and return the sum of the layers of each run, in nanoseconds."""
        begin = len(self._runs)
        reports: list[tuple[str, float]] = []
        self._session.run_profiled(feeds, runs, lambda name, ms: reports.append((name, ms)))
        if not reports:
            raise InferenceError("TensorRT reported no layer's time", "build the engine again")
        each = max(1, len(reports) // runs)
        for start in range(0, len(reports), each):
            spent: dict[str, float] = {}
            # A layer that runs twice in one run is reported twice: its times add up.
            for name, ms in reports[start : start + each]:
                spent[name] = spent.get(name, 0.0) + 1e6 * ms
            self._runs.append(spent)
        return [sum(one.values()) for one in self._runs[begin:]]

    def finish(self, *, skip: int) -> NodeTimes:
        """Return the times of all runs but the first ones, and close."""
        self._session.close()
        kept = self._runs[skip:]
        times = {name: typical([one[name] for one in kept if name in one]) for name in kept[0]}
        nodes = tuple(
            EngineNode(name=name, op_type=_kind(name), provider=_PROVIDER, time_ns=ns, originals=fused_names(name))
            for name, ns in times.items()
        )
        return NodeTimes(nodes=nodes, call_ns=None, resolution_ns=_RESOLUTION_NS)


def fused_names(layer: str) -> tuple[str, ...]:
    """Return the names of nodes in a layer's name: "node_conv + node_relu", "PWN(node_sigmoid, node_mul)", in any nesting."""
    return tuple(filter(None, (part.strip() for part in re.split(r"[+(),\[\]{}]|\|\|", layer))))


def _kind(name: str) -> str:
    return "Reformat" if "reformat" in name.casefold() else ""
