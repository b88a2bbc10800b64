"""An ONNX Runtime session whose small inputs and outputs stay bound to the engine between runs.

The engine checks every fresh array of a call; for small networks that costs more than copying into a buffer that it
knows already. Only for providers that compute in the host's memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecnn.runtimes.base import Array, Feeds
from edgecnn.runtimes.ort.session import OrtSession
from edgecnn.specs import TensorSpec

# Up to here, input and outputs each, copying costs less than the engine's own checks of fresh arrays.
_BOUND_BYTES = 1 << 16

# Buffers of so many input shapes, and so many sets of each, wait for the next run: 4 MiB per session at most.
_KEPT_SHAPES = 4
_KEPT_SETS = 8

_BOUND_DTYPES = frozenset(
    ("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
)


class BoundOrtSession(OrtSession):
    """An OrtSession that runs small networks of one input on bound buffers; takes what OrtSession takes."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Bound buffers wait here between runs, by input shape; a run takes a set out, so that threads never share one.
        self._idle: dict[tuple[int, ...], list[_Bound]] = {}
        specs = (*self.inputs, *self.outputs)
        self._bindable = len(self.inputs) == 1 and all(spec.dtype in _BOUND_DTYPES for spec in specs)
        self._input_name = self.inputs[0].name if self.inputs else ""

    def _run(self, feeds: Feeds) -> dict[str, Array]:
        if not self._bindable:
            return super()._run(feeds)
        array = feeds[self._input_name]
        idle = self._idle.get(array.shape)
        if idle is not None:
            return self._run_bound(idle, feeds, array)
        answer = super()._run(feeds)
        if 0 < array.nbytes <= _BOUND_BYTES:
            self._learn(array, answer)
        return answer

    def _learn(self, array: Array, answer: dict[str, Array]) -> None:
        """Let further runs of this shape use bound buffers, if the outputs are small and as the graph declares them."""
        predicted = _predict(self.inputs[0], self.outputs, array.shape)
        declared = [(shape, np.dtype(spec.dtype)) for spec, shape in zip(self.outputs, predicted, strict=True)]
        if declared != [(value.shape, value.dtype) for value in answer.values()]:
            self._bindable = False
        elif 0 < sum(value.nbytes for value in answer.values()) <= _BOUND_BYTES:
            if len(self._idle) >= _KEPT_SHAPES:
                self._idle.clear()
            self._idle[array.shape] = []

    def _run_bound(self, idle: list[_Bound], feeds: Feeds, array: Array) -> dict[str, Array]:
        try:
            bound = idle.pop()
        except IndexError:
            bound = _Bound(self._engine, self._session, self.inputs[0], self.outputs, array.shape)
        bound.input[...] = array
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception:
            # Either the run itself fails, then also without buffers, or an output's size depends on the data.
            answer = super()._run(feeds)
            self._bindable = False
            return answer
        answer = {name: buffer.copy() for name, buffer in bound.outputs}
        if len(idle) < _KEPT_SETS:
            idle.append(bound)
        return answer

    def _close(self) -> None:
        self._idle.clear()
        super()._close()


class _Bound:
    """Input and output buffers that stay bound to the engine between runs."""

    def __init__(
        self, engine: Any, session: Any, source: TensorSpec, targets: tuple[TensorSpec, ...], shape: tuple[int, ...]
    ) -> None:
        self.input = np.empty(shape, source.dtype)
        self.binding = session.io_binding()
        self.outputs: list[tuple[str, Array]] = []
        self._values = [engine.OrtValue.ortvalue_from_numpy(self.input)]
        self.binding.bind_ortvalue_input(source.name, self._values[0])
        for target, size in zip(targets, _predict(source, targets, shape), strict=True):
            buffer = np.empty(size, target.dtype)
            value = engine.OrtValue.ortvalue_from_numpy(buffer)
            self.binding.bind_ortvalue_output(target.name, value)
            self.outputs.append((target.name, buffer))
            self._values.append(value)


def _predict(source: TensorSpec, targets: tuple[TensorSpec, ...], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the outputs' shapes as the graph declares them for an input's shape; -1 where it does not say."""
    sizes = dict(zip(source.shape, shape, strict=True))
    return [tuple(sizes.get(d, -1) if isinstance(d, str) else d for d in target.shape) for target in targets]
