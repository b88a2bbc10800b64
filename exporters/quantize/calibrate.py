"""Observing activations: the fp32 graph runs on calibration images, and only extremes and histograms are kept.

One pass serves every method. Memory does not grow with the number of images: a batch is made small enough for all observed
tensors together to fit into a fixed budget, and nothing of it outlives the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgecnn.data.dataset import Split
from edgecnn.errors import QuantizeError
from edgecnn.exporters.quantize.calibration_cache import RangeCache, RangeTable, cache_key
from edgecnn.exporters.quantize.calibration_images import digest, prepared_batches, refuse_one_colour, spread
from edgecnn.exporters.quantize.config import Method, QuantizeConfig
from edgecnn.exporters.quantize.culprit import blame
from edgecnn.exporters.quantize.histogram import Histogram
from edgecnn.exporters.quantize.methods import GROUP, HISTOGRAM_METHODS, MOMENTUM, Observation, choose_range
from edgecnn.exporters.quantize.probe import Probe, with_outputs
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.jsonform import to_json
from edgecnn.runtimes.base import Array
from edgecnn.specs import Preprocess, TensorSpec

Progress = Callable[[int, int], None]
Tables = dict[Method, RangeTable]

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
        on_progress: called with images run and images to run in all.

    Raises:
        QuantizeError: a tensor has values that are not finite; the first such node is named.
    """
    calibrator = Calibrator(
        source=source, preprocess=preprocess, images=images, percentile=config.percentile, any_images=True
    )
    return dict(calibrator.tables(model, tensors, (config.method,), on_progress)[config.method].ranges)


class Calibrator:
    """Finds ranges of the tensors of graphs on one set of images, in the cache or by running it.

    Args:
        source: the models' input.
        preprocess: how an image becomes that input.
        images: what to run; all of them.
        percentile: of method "percentile", None for its default.
        cache: where ranges are looked up and kept, None for nowhere.
        any_images: take even images that are all of one colour throughout.

    Attributes:
        images: as given.
        from_cache: whether the last answer was there already.
    """

    def __init__(
        self,
        *,
        source: TensorSpec,
        preprocess: Preprocess,
        images: Split,
        percentile: float | None = None,
        cache: RangeCache | None = None,
        any_images: bool = False,
    ) -> None:
        self.images = images
        self.from_cache = False
        self._source = source
        self._preprocess = preprocess
        self._percentile = percentile
        self._cache = cache
        self._any_images = any_images
        self._digest = ""

    def tables(
        self,
        model: ir.Model,
        tensors: Sequence[ir.Value],
        methods: Sequence[Method],
        on_progress: Progress = lambda done, total: None,
    ) -> Tables:
        """Return what each method says of tensors of an fp32 graph, and of the model's outputs.

        Raises:
            QuantizeError: a tensor has values that are not finite; the first such node is named.
            BadInput: every image is of one colour throughout.
        """
        if not self._any_images:
            refuse_one_colour(self.images)
        names = _names(model, tensors)
        graph = with_outputs(model, names)
        keys = {method: self._key(graph, method) for method in methods} if self._cache else {}
        tables: Tables = {}
        for method, key in keys.items():
            known = self._cache.find(key) if self._cache else None
            if known is not None and set(names) == set(known.ranges):
                tables[method] = known
        self.from_cache = len(tables) == len(methods)
        missing = [method for method in methods if method not in tables]
        if missing:
            seen = self._observe(model, graph, names, missing, on_progress)
            for method in missing:
                tables[method] = _table(seen, method, self._percentile)
                if self._cache:
                    self._cache.keep(keys[method], tables[method])
        return tables

    def mean_outputs(self, model: ir.Model, tensors: Sequence[ir.Value], count: int) -> dict[str, Array]:
        """Return the mean over some of the images of tensors [N, ...], by name, float64 [...]."""
        names = [str(value.name) for value in tensors]
        probe = Probe(with_outputs(model, names), names)
        chosen = spread(self.images, count)
        totals: dict[str, Array] = {}
        for feed, number in prepared_batches(self._source, self._preprocess, chosen, GROUP):
            for name, array in probe.run(feed).items():
                totals[name] = totals.get(name, 0) + array[:number].sum(axis=0, dtype=np.float64)
        return {name: total / len(chosen) for name, total in totals.items()}

    def answers(self, model: ir.Model, count: int) -> tuple[Array, NDArray[np.int64]]:
        """Return the outputs [count, classes] of a graph for some of the images, and their labels, -1 where unknown."""
        chosen = spread(self.images, count)
        name = str(model.graph.outputs[0].name)
        probe = Probe(with_outputs(model, [name]), [name])
        batches = prepared_batches(self._source, self._preprocess, chosen, GROUP)
        return np.concatenate([probe.run(feed)[name][:number] for feed, number in batches]), chosen.labels

    def _key(self, graph: bytes, method: Method) -> str:
        self._digest = self._digest or digest(self.images)
        percentile = self._percentile if method == "percentile" else None
        options = {"method": method, "percentile": percentile, "preprocess": to_json(self._preprocess)}
        constants = {"momentum": MOMENTUM, "group": GROUP, "values": _VALUES_PER_IMAGE}
        return cache_key(graph=graph, images=self._digest, **options, **constants)

    def _observe(
        self, model: ir.Model, graph: bytes, names: Sequence[str], methods: Sequence[Method], on_progress: Progress
    ) -> dict[str, Observation]:
        probe = Probe(graph, names)
        first, _ = next(prepared_batches(self._source, self._preprocess, self.images.take(1), 1))
        observer = _Observer(counting=any(method in HISTOGRAM_METHODS for method in methods))
        done = 0
        for feed, number in prepared_batches(self._source, self._preprocess, self.images, probe.batch_size(first)):
            tensors = probe.run(feed)
            if not observer.add(tensors):
                raise _not_finite(model, feed)
            done += number
            on_progress(done, len(self.images))
        return observer.seen


def _table(seen: Mapping[str, Observation], method: Method, percentile: float | None) -> RangeTable:
    ranges = {name: choose_range(one, method, percentile) for name, one in seen.items()}
    return RangeTable(ranges=ranges, constant=tuple(name for name, one in seen.items() if one.constant))


class _Observer:
    """What was seen of every tensor so far.

    Args:
        counting: keep histograms as well.
    """

    def __init__(self, *, counting: bool) -> None:
        self.seen: dict[str, Observation] = {}
        self._counting = counting

    def add(self, tensors: Mapping[str, Array]) -> bool:
        """Take a batch of tensors [N, ...] in; False where one has values that are not finite."""
        return all(self._add(name, array) for name, array in tensors.items())

    def _add(self, name: str, array: Array) -> bool:
        rows = array.reshape(len(array), -1)
        lows, highs = rows.min(axis=1), rows.max(axis=1)
        low, high = float(lows.min()), float(highs.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return False
        known = self.seen.get(name)
        if known is None:
            first = (float(lows[:GROUP].min()), float(highs[:GROUP].max()))
            known = Observation(low=low, high=high, average_low=first[0], average_high=first[1])
            known.histogram = Histogram() if self._counting else None
            self.seen[name] = known
        known.low, known.high = min(known.low, low), max(known.high, high)
        for start in range(0, len(rows), GROUP):
            steps = float(lows[start : start + GROUP].min()), float(highs[start : start + GROUP].max())
            known.average_low = MOMENTUM * known.average_low + (1 - MOMENTUM) * steps[0]
            known.average_high = MOMENTUM * known.average_high + (1 - MOMENTUM) * steps[1]
        if known.histogram is not None:
            step = -(-rows.shape[1] // _VALUES_PER_IMAGE)
            known.histogram.add(array.reshape(-1)[:: step | 1], max(-low, high))
        return True


def _names(model: ir.Model, tensors: Sequence[ir.Value]) -> list[str]:
    return list(dict.fromkeys(value.name for value in (*tensors, *model.graph.outputs) if value.name))


def _not_finite(model: ir.Model, feed: Array) -> QuantizeError:
    """Return the error for the first node, in graph order, whose output is not finite; observed or not."""
    if not np.isfinite(feed).all():
        return QuantizeError("the model's input is not finite on the calibration images", "check mean and std")
    return QuantizeError(
        blame(model, feed, "the calibration images"),
        "check the weights, and that the preprocessing is the one of the training",
    )
