"""The time of each node by ONNX Runtime's own profiler, whose JSON file lies in a temporary folder for as long as it takes."""

from __future__ import annotations

import json
import tempfile
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, InferenceError
from edgecnn.onnxmodel.graph import OnnxNode, read_graph
from edgecnn.onnxmodel.write import Op, model_file
from edgecnn.profiling.matching import EngineNode
from edgecnn.profiling.timers import NodeTimes, call_ns, typical
from edgecnn.runtimes.base import Feeds, OpenOptions
from edgecnn.runtimes.ort.bound import BoundOrtSession
from edgecnn.runtimes.ort.session import CPU_PROVIDER, import_engine, session_options
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, TensorSpec

_KERNEL, _RUN = "_kernel_time", "model_run"

# The profiler writes whole microseconds and drops the rest (duration_cast in onnxruntime/core/common/profiler.h), which is
# half of one on average.
_RESOLUTION_NS = 1000

# Nodes that do nothing, and runs of them: enough for a mean of whole microseconds that is known to a tenth of one.
_IDLE_NODES, _IDLE_RUNS = 16, 60

# The optimised graph tells outputs of nodes that have no name of their own. Of larger models it is not written.
_WRITTEN_UP_TO_BYTES = 256 << 20

Key = tuple[str, int]
"""Name of a node, and which of that name."""

Events = Sequence[Mapping[str, Any]]


class OrtTimer:
    """A session of backend cpu with the profiler on.

    Args:
        artifact: the model.
        options: threads, spinning and arena count.
        feeds: what it will be run with.
    """

    def __init__(self, artifact: Artifact, options: OpenOptions, feeds: Feeds) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgecnn-profile-")
        try:
            self._node_cost_ns = self._cost_of_nothing(options)
            self._session = self._open(artifact, options, "profile")
            self._call_ns = call_ns("cpu", options, feeds)
        except BaseException:
            self._folder.cleanup()
            raise

    def _open(self, artifact: Artifact, options: OpenOptions, name: str) -> _ProfiledSession:
        engine, threads = import_engine(), options.threads or usable_threads()
        chosen = session_options(engine, options, threads)
        chosen.enable_mem_pattern = options.arena
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(Path(self._folder.name) / name)
        self._optimised = Path(self._folder.name) / f"{name}.onnx"
        if artifact.size_bytes <= _WRITTEN_UP_TO_BYTES:
            chosen.optimized_model_filepath = str(self._optimised)
        return _ProfiledSession(
            engine, artifact, options, backend="cpu", providers=[(CPU_PROVIDER, {})], chosen=chosen, threads=threads
        )

    def _cost_of_nothing(self, options: OpenOptions) -> float:
        """Return the time of nodes that have next to nothing to do, which is what profiling adds to each."""
        spec = TensorSpec(name="x0", dtype="float32", shape=(1,))
        ops = [Op(op_type="Neg", inputs=(f"x{place}",), output=f"x{place + 1}") for place in range(_IDLE_NODES)]
        path = Path(self._folder.name) / "nothing.onnx"
        path.write_bytes(model_file("nothing", ops, {}, [spec], [replace(spec, name=ops[-1].output)]))
        session = self._open(load_artifact(path), options, "idle")
        with session:
            for _ in range(_IDLE_RUNS):
                session.run({spec.name: np.ones(1, np.float32)})
            found = node_times(_events(session), (), skip=_IDLE_RUNS // 4)
        return float(np.median([node.time_ns for node in found.nodes]))

    def run(self, feeds: Feeds, runs: int) -> Sequence[float]:
        """Run with profiling on and return the duration of each run, in nanoseconds."""
        durations = []
        for _ in range(runs):
            begin = time.perf_counter_ns()
            self._session.run(feeds)
            durations.append(float(time.perf_counter_ns() - begin))
        return durations

    def finish(self, *, skip: int) -> NodeTimes:
        """Return the times of all runs but the first ones, close, and remove the profiler's file.

        Raises:
            InferenceError: the engine wrote no profile that can be read.
        """
        with self._folder:
            try:
                events = _events(self._session)
            finally:
                self._session.close()
            try:
                nodes = read_graph(self._optimised).nodes
            except BadInput:
                nodes = ()
            found = node_times(events, nodes, skip=skip)
            return replace(found, call_ns=self._call_ns, node_cost_ns=self._node_cost_ns)


class _ProfiledSession(BoundOrtSession):
    def end_profiling(self) -> str:
        """Return the file that the profiler wrote."""
        return str(self._session.end_profiling())


def _events(session: _ProfiledSession) -> Events:
    """Return what the profiler wrote; the session profiles no longer."""
    try:
        events: Events = json.loads(Path(session.end_profiling()).read_bytes())
    except (OSError, ValueError) as error:
        raise InferenceError(f"onnxruntime wrote no profile that can be read: {error}") from error
    return events


def node_times(events: Events, nodes: Sequence[OnnxNode], *, skip: int) -> NodeTimes:
    """Return what the profiler's events say.

    Args:
        events: its JSON.
        nodes: of the optimised graph, empty where it is not known.
        skip: runs at the beginning that are left out.

    Raises:
        InferenceError: no run is left, or there is no node in it.
    """
    runs = list(_runs(events))[skip:]
    if not runs or not runs[0]:
        raise InferenceError("onnxruntime's profile has no run with nodes in it")
    half = _RESOLUTION_NS / 2
    first = [key for key, _ in runs[0]]
    times: dict[Key, list[float]] = {}
    for kernels in runs:
        for key, event in kernels:
            times.setdefault(key, []).append(1e3 * event["dur"] + half)
    told = {key: event.get("args", {}) for key, event in runs[0]}
    outputs = _outputs(first, told, nodes)
    found = tuple(
        EngineNode(
            name=key[0],
            op_type=str(told[key].get("op_name", "")),
            provider=str(told[key].get("provider", "")),
            time_ns=typical(times[key]),
            outputs=outputs.get(key, ()),
        )
        for key in first
    )
    return NodeTimes(nodes=found, call_ns=None, resolution_ns=_RESOLUTION_NS)


def _runs(events: Events) -> Iterator[list[tuple[Key, Mapping[str, Any]]]]:
    """Yield of each run its nodes' events in order; by their times, since versions differ in the order of the file."""
    starts = sorted(event["ts"] for event in events if event.get("name") == _RUN)
    of_run: list[list[Mapping[str, Any]]] = [[] for _ in starts]
    for event in events:
        place = bisect_right(starts, event["ts"]) - 1 if _is_kernel(event) else -1
        if place >= 0:
            of_run[place].append(event)
    for kernels in of_run:
        seen: Counter[str] = Counter()
        found = []
        for event in sorted(kernels, key=lambda one: float(one["ts"])):
            plain = str(event["name"]).removesuffix(_KERNEL)
            found.append(((plain, seen[plain]), event))
            seen[plain] += 1
        yield found


def _is_kernel(event: Mapping[str, Any]) -> bool:
    return event.get("cat") == "Node" and str(event.get("name", "")).endswith(_KERNEL)


def _outputs(
    keys: Sequence[Key], told: Mapping[Key, Mapping[str, Any]], nodes: Sequence[OnnxNode]
) -> dict[Key, tuple[str, ...]]:
    """Return the outputs of each node that ran: of the node with that name, or the same place among those of its kind."""
    by_name = {node.name: node for node in nodes}
    kinds: dict[str, list[OnnxNode]] = {}
    for node in nodes:
        kinds.setdefault(node.op_type, []).append(node)
    seen: Counter[str] = Counter()
    found = {}
    for key in keys:
        kind = str(told[key].get("op_name", ""))
        alike, place = kinds.get(kind, []), seen[kind]
        seen[kind] += 1
        ran = by_name.get(key[0]) or (alike[place] if place < len(alike) else None)
        if ran is not None:
            found[key] = ran.outputs
    return found
