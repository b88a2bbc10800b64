"""An ONNX Runtime session whose inputs and outputs lie in a device's memory and stay bound to the engine between runs.

A run is: copy the inputs to the device, run, wait, copy the outputs back; the engine allocates nothing in between.
With device "cpu" the very same steps run without a GPU.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from edgecnn.errors import BadInput, InferenceError, first_line
from edgecnn.runtimes.base import Array, Feeds, check_feeds
from edgecnn.runtimes.ort.session import OrtSession
from edgecnn.specs import TensorSpec

# Buffers of so many combinations of input shapes are kept, and so many sets of each for threads that run at once.
_KEPT_SHAPES = 8
_KEPT_SETS = 4

# Device memory that buffers of other shapes than the last may hold while they wait.
_KEPT_BYTES = 1 << 28

# Before its graph can be replayed a shape needs one run that allocates and one that captures (ONNX Runtime, CUDA
# provider, min_num_runs_before_cuda_graph_capture_).
_RUNS_TO_CAPTURE = 2

# A run that is neither captured nor replayed (onnxruntime_run_options_config_keys.h).
_NO_GRAPH = "-1"
_GRAPH_ID = "gpu_graph_id"

_BOUND_DTYPES = frozenset(
    ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)

Shapes = tuple[tuple[int, ...], ...]


class DeviceOrtSession(OrtSession):
    """An OrtSession on bound buffers of a device; takes what OrtSession takes, and more.

    Args:
        device: where the buffers lie, by the engine's names: "cuda", or "cpu" for the host.
        device_id: the device's number, from 0.
        graphs: replay captured CUDA graphs, one per combination of shapes; the runs of a session then follow each other.
    """

    def __init__(self, *arguments: Any, device: str, device_id: int = 0, graphs: bool = False, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._device = (device, device_id)
        self._graphs = graphs
        # Buffers wait here between runs, by input shapes; a run takes a set out, so that threads never share one.
        self._idle: dict[Shapes, list[_Buffers]] = {}
        self._graph_ids = itertools.count(1)
        # The engine captures and replays on one stream; two threads at once would mix their buffers.
        self._one_at_a_time: Any = threading.Lock() if graphs else nullcontext()
        self._bindable = all(spec.dtype in _BOUND_DTYPES for spec in (*self.inputs, *self.outputs))

    def warm(self, batch: int) -> None:
        """Run zeros of a batch, so that what the engine does once per shape is done.

        Nothing is run where other sizes than the first are open, or an input is not of numbers.

        Raises:
            InferenceError: the engine failed.
        """
        shapes = [_with_batch(spec, batch) for spec in self.inputs]
        fixed = [shape for shape in shapes if shape is not None]
        if self._bindable and len(fixed) == len(shapes):
            named = zip(self.inputs, fixed, strict=True)
            self.run({spec.name: np.zeros(shape, spec.dtype) for spec, shape in named})

    def resident(self, feeds: Feeds) -> Callable[[], None]:
        """Return a run whose inputs lie on the device already and whose outputs stay there: what a run is without copies.

        Args:
            feeds: as for `run`; they are copied once, now.

        Raises:
            BadInput: the feeds do not fit, or the engine cannot bind them.
            InferenceError: the engine failed.
        """
        check_feeds(self.inputs, feeds)
        if not self._bindable:
            raise BadInput(
                "inputs and outputs", expected="numbers, which the engine can keep on a device", got="others"
            )
        shapes = tuple([feeds[spec.name].shape for spec in self.inputs])
        with self._one_at_a_time:
            buffers = self._take(shapes)
            buffers.run(self._session, feeds)

        def run() -> None:
            with self._one_at_a_time:
                buffers.again(self._session)

        return run

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        if not self._bindable:
            return super()._run(feeds)
        shapes = tuple([feeds[spec.name].shape for spec in self.inputs])
        with self._one_at_a_time:
            try:
                buffers = self._take(shapes)
            except Exception as error:
                raise InferenceError(f"onnxruntime has no memory for {shapes}: {first_line(error)}") from error
            try:
                answer = buffers.run(self._session, feeds)
            except Exception:
                # Either the run itself fails, then also without buffers, or an output is not as the graph declares it.
                answer = super()._run(feeds)
                self._bindable = False
                return answer
            self._give_back(shapes, buffers)
        return answer

    def _take(self, shapes: Shapes) -> _Buffers:
        """Return a set of buffers that no other thread has, made and warmed now if none waits."""
        try:
            return self._idle[shapes].pop()
        except (KeyError, IndexError):
            pass
        outputs = _declared(self.inputs, self.outputs, shapes)
        return _Buffers(
            self._engine,
            self._session,
            inputs=dict(zip(self.inputs, shapes, strict=True)),
            outputs=outputs,
            device=self._device,
            graph_id=self._next_graph_id(all(size is not None for size in outputs.values())) if self._graphs else "",
        )

    def _next_graph_id(self, sizes_known: bool) -> str:
        """Return a number of its own for a graph, or the one for no graph.

        The engine gives captured graphs back with the session only, so their number is bounded; where the output's size
        depends on the data nothing can be captured.
        """
        return str(next(self._graph_ids)) if sizes_known and len(self._idle) < _KEPT_SHAPES else _NO_GRAPH

    def _give_back(self, shapes: Shapes, buffers: _Buffers) -> None:
        if buffers.graph_id == _NO_GRAPH or self._closed:
            return
        waiting = self._idle.setdefault(shapes, [])
        if len(waiting) < _KEPT_SETS:
            waiting.append(buffers)
        # Captured graphs keep their buffers; there are few of them.
        while not self._graphs and len(self._idle) > 1 and self._is_too_much():
            oldest = next((shape for shape in list(self._idle) if shape != shapes), shapes)
            self._idle.pop(oldest, None)

    def _is_too_much(self) -> bool:
        kept = [buffers for waiting in list(self._idle.values()) for buffers in list(waiting)]
        return len(self._idle) > _KEPT_SHAPES or sum(buffers.size_bytes for buffers in kept) > _KEPT_BYTES

    def _close(self) -> None:
        self._idle.clear()
        super()._close()


class _Buffers:
    """Device memory for one combination of shapes, bound to the session.

    Args:
        engine: the module onnxruntime.
        session: its InferenceSession.
        inputs: input -> shape.
        outputs: output -> shape, None where it is known only after the run; the engine then allocates it each time.
        device: name and number.
        graph_id: of the CUDA graph; empty where none is used.
    """

    def __init__(
        self,
        engine: Any,
        session: Any,
        *,
        inputs: Mapping[TensorSpec, tuple[int, ...]],
        outputs: Mapping[TensorSpec, tuple[int, ...] | None],
        device: tuple[str, int],
        graph_id: str = "",
    ) -> None:
        self.graph_id = graph_id
        self._runs_to_warm = _RUNS_TO_CAPTURE if graph_id not in ("", _NO_GRAPH) else 0
        self._options = None
        if graph_id:
            self._options = engine.RunOptions()
            self._options.add_run_config_entry(_GRAPH_ID, graph_id)
        self._binding = session.io_binding()
        make = engine.OrtValue.ortvalue_from_shape_and_type
        self._inputs: dict[str, Any] = {}
        for spec, shape in inputs.items():
            self._inputs[spec.name] = make(shape, np.dtype(spec.dtype), *device)
            self._binding.bind_ortvalue_input(spec.name, self._inputs[spec.name])
        # Kept, because the engine holds addresses only.
        self._bound: dict[str, Any] = {}
        self._names = [spec.name for spec in outputs]
        known = {**inputs, **{spec: size for spec, size in outputs.items() if size is not None}}
        self.size_bytes = sum(math.prod(size) * np.dtype(spec.dtype).itemsize for spec, size in known.items())
        for spec, size in outputs.items():
            if size is None:
                self._binding.bind_output(spec.name, *device)
            else:
                self._bound[spec.name] = make(size, np.dtype(spec.dtype), *device)
                self._binding.bind_ortvalue_output(spec.name, self._bound[spec.name])

    def run(self, session: Any, feeds: Feeds) -> dict[str, Array]:
        """Return copies of the outputs; the device has finished when this returns."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        self._binding.synchronize_inputs()
        for _ in range(self._runs_to_warm):
            session.run_with_iobinding(self._binding, self._options)
        self._runs_to_warm = 0
        session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        values = zip(self._names, self._binding.get_outputs(), strict=True)
        return {name: _owned(self._bound.get(name, value).numpy()) for name, value in values}

    def again(self, session: Any) -> None:
        """Run on what lies on the device; it has finished when this returns."""
        session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()


def _owned(array: Array) -> Array:
    """Return an array of the caller's own; in host memory the engine shows its buffer itself."""
    return array if array.flags.owndata else array.copy()


def _with_batch(spec: TensorSpec, batch: int) -> tuple[int, ...] | None:
    """Return an input's shape for a batch; None where it does not follow."""
    shape = [batch if i == 0 and isinstance(size, str) else size for i, size in enumerate(spec.shape)]
    fixed = tuple(size for size in shape if isinstance(size, int))
    return fixed if len(fixed) == len(shape) else None


def _declared(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], shapes: Shapes
) -> dict[TensorSpec, tuple[int, ...] | None]:
    """Return each output's shape as the graph declares it for the inputs' shapes; None where it does not say."""
    sizes: dict[int | str, int] = {}
    for spec, shape in zip(inputs, shapes, strict=True):
        sizes.update({named: size for named, size in zip(spec.shape, shape, strict=True) if isinstance(named, str)})
    declared: dict[TensorSpec, tuple[int, ...] | None] = {}
    for spec in outputs:
        known = tuple(size if isinstance(size, int) else sizes.get(size, -1) for size in spec.shape)
        declared[spec] = None if -1 in known else known
    return declared
