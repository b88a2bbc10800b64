"""A graph in the engine whose inner tensors can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from edgecnn.exporters.quantize.methods import GROUP
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import Array
from edgecnn.runtimes.threads import usable_threads

# Of observed tensors that are held at a time.
_BUDGET_BYTES = 64 << 20
_MAX_BATCH = 64


class Probe:
    """A graph in the engine, with the observed tensors as its outputs."""

    def __init__(self, graph: bytes, names: Sequence[str]) -> None:
        self.names = names
        self._session = _open_engine(graph)
        self._input = self._session.get_inputs()[0].name
        self._computed = [name for name in self.names if name != self._input]

    def run(self, feed: Array) -> dict[str, Array]:
        """Return the observed tensors for a batch, the input among them if it is observed."""
        values = dict(zip(self._computed, self._session.run(self._computed, {self._input: feed}), strict=True))
        return {name: values.get(name, feed) for name in self.names}

    def batch_size(self, feed: Array) -> int:
        """Return how many images may run at a time, judged by one input; whole groups where more than one fit."""
        observed = sum(array.nbytes for array in self.run(feed).values())
        size = max(1, min(_MAX_BATCH, _BUDGET_BYTES * len(feed) // max(1, observed)))
        return size - size % GROUP if size > GROUP else size


def _open_engine(model: bytes) -> Any:
    """Return the engine's own session for a serialised graph; backend cpu opens files of finished models only.

    Its optimiser stays off: ranges must be those of the graph as written, and it takes a Pad with zeros before a MaxPool into
    the padding of the pool, which is minus infinity, or fails at that.
    """
    get_runtime("cpu").check()
    import onnxruntime  # noqa: PLC0415 (only after the check, which says how to install it)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def with_outputs(model: ir.Model, names: Sequence[str]) -> bytes:
    """Return the serialised model with those values, and nothing else, as its outputs, and without its metadata."""
    copy = model.clone()
    copy.metadata_props.clear()
    graph = copy.graph
    inputs = {value.name for value in graph.inputs}
    values = {value.name: value for node in graph for value in node.outputs}
    graph.outputs[:] = [_typed(values[name]) for name in names if name not in inputs]
    serialised: bytes = ir.to_proto(copy).SerializeToString()
    return serialised


def _typed(value: ir.Value) -> ir.Value:
    if value.type is None:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    return value
