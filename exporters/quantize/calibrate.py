"""Observing activations: the fp32 graph runs on calibration images, and only ranges and histograms are kept.

Memory does not grow with the number of images: a batch is made small enough for all observed tensors together to fit
into a fixed budget, and nothing of it outlives the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgecnn.data.dataset import Image, Split
from edgecnn.errors import QuantizeError
from edgecnn.exporters.accuracy import input_batches
from edgecnn.exporters.passes.base import label
from edgecnn.exporters.quantize.config import QuantizeConfig
from edgecnn.exporters.quantize.ranges import BINS, MIN_SCALE, Histogram, Range, choose_range
from edgecnn.runtimes import get_runtime
from edgecnn.runtimes.base import Array
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Preprocess, TensorSpec

Progress = Callable[[int, int], None]

# Of observed tensors that are held at a time.
_BUDGET_BYTES = 64 << 20
_MAX_BATCH = 64

# A histogram takes about so many values of one image, evenly spread (by an odd step, which visits every column of an image
# with an even width): enough for its shape, and a fraction of the time.
_VALUES_PER_IMAGE = 1 << 16


def calibrate(
    model: ir.Model,
    tensors: Sequence[ir.Value],
    *,
    source: TensorSpec,
    preprocess: Preprocess,
    images: Split,
    config: QuantizeConfig,
    on_progress: Progress = lambda done, total: None,
) -> dict[str, Range]:
    """Return the range of each tensor by name, as the method of the configuration chooses it.

    Args:
        model: the fp32 graph.
        tensors: float32 values of that graph.
        source: the model's input.
        preprocess: how an image becomes that input.
        images: what to run; all of them.
        config: method and percentile.
        on_progress: called with images run and images to run in all; methods that need a histogram run twice.

    Raises:
        QuantizeError: a tensor has values that are not finite; the first such node is named.
    """
    probe = _Probe(model, tensors)
    passes = 1 if config.method == "minmax" else 2
    size = probe.batch_size(next(input_batches(source, preprocess, images.take(1), 1))[0])

    def batches(number: int) -> Iterator[dict[str, Array]]:
        done = number * len(images)
        for feed, labels in input_batches(source, preprocess, images, size):
            yield probe.run(feed)
            done += len(labels)
            on_progress(done, passes * len(images))

    ranges = _observe_ranges(model, batches(0))
    if config.method == "minmax":
        return ranges
    histograms = _observe_histograms(ranges, batches(1))
    return {name: choose_range(found, config.method, config.percentile) for name, found in histograms.items()}


def spread(split: Split, count: int | None) -> Split:
    """Return at most that many images, evenly spread over the split, which may be sorted by class."""
    if count is None or count >= len(split):
        return split
    index = np.linspace(0, len(split) - 1, count).round().astype(np.intp)
    chosen = split.images[index] if isinstance(split.images, np.ndarray) else _Chosen(split.images, index)
    return Split(split.name, chosen, split.labels[index], split.trained)


@dataclass(frozen=True, slots=True)
class _Chosen(Sequence[Image]):
    """Some images of a sequence, fetched when they are asked for."""

    images: Sequence[Image]
    chosen: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, item: int) -> Image: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Image]: ...
    def __getitem__(self, item: int | slice) -> Image | Sequence[Image]:
        if isinstance(item, slice):
            return _Chosen(self.images, self.chosen[item])
        return self.images[int(self.chosen[item])]


class _Probe:
    """The fp32 graph in the engine, with the observed tensors as its outputs."""

    def __init__(self, model: ir.Model, tensors: Sequence[ir.Value]) -> None:
        self.names = list(dict.fromkeys(value.name for value in (*tensors, *model.graph.outputs) if value.name))
        self._session = _open_engine(_with_outputs(model, self.names))
        self._input = self._session.get_inputs()[0].name
        self._computed = [name for name in self.names if name != self._input]

    def run(self, feed: Array) -> dict[str, Array]:
        """Return the observed tensors for a batch, the input among them if it is observed."""
        values = dict(zip(self._computed, self._session.run(self._computed, {self._input: feed}), strict=True))
        return {name: values.get(name, feed) for name in self.names}

    def batch_size(self, feed: Array) -> int:
        """Return how many images may run at a time, judged by one input."""
        observed = sum(array.nbytes for array in self.run(feed).values())
        return max(1, min(_MAX_BATCH, _BUDGET_BYTES * len(feed) // max(1, observed)))


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


def _with_outputs(model: ir.Model, names: Sequence[str]) -> bytes:
    """Return the serialised model with those values, and nothing else, as its outputs."""
    copy = model.clone()
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


def _observe_ranges(model: ir.Model, batches: Iterator[dict[str, Array]]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for tensors in batches:
        for name, array in tensors.items():
            low, high = float(array.min()), float(array.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise _not_finite(model, tensors)
            known = ranges.get(name, Range(0.0, 0.0))
            ranges[name] = Range.around(min(known.low, low), max(known.high, high))
    return ranges


def _not_finite(model: ir.Model, tensors: Mapping[str, Array]) -> QuantizeError:
    """Return the error for the first node, in graph order, whose output is not finite."""
    wrong = {name for name, array in tensors.items() if not np.isfinite(array).all()}
    for node in model.graph:
        if any(value.name in wrong for value in node.outputs):
            return QuantizeError(
                f"node {label(node)} gives values that are not finite on the calibration images",
                "check the weights, and that the preprocessing is the one of the training",
            )
    return QuantizeError("the model's input is not finite on the calibration images", "check mean and std")


def _observe_histograms(ranges: Mapping[str, Range], batches: Iterator[dict[str, Array]]) -> dict[str, Histogram]:
    found = {name: Histogram(known, np.zeros(BINS, np.int64)) for name, known in ranges.items()}
    for tensors in batches:
        for name, array in tensors.items():
            step = -(-array[0].size // _VALUES_PER_IMAGE)
            count_into(found[name], array.reshape(-1)[:: step | 1])
    return found


def count_into(histogram: Histogram, values: Array) -> None:
    """Add values [N] to the counts; a range too narrow to have a scale of its own is left uncounted."""
    width = (histogram.range.high - histogram.range.low) / BINS
    if width < MIN_SCALE / BINS:
        return
    position = np.subtract(values, histogram.range.low, dtype=np.float32)
    position *= 1 / width
    index = np.clip(position, 0, BINS - 1, out=position).astype(np.intp)
    histogram.counts[:] += np.bincount(index, minlength=BINS)
