"""A stand-in for the module onnxruntime with a GPU, at its lowest boundary: memory, bindings, streams and graphs.

It keeps the rules that the GPU keeps and a test without one cannot see otherwise: a run is only queued until it is waited
for, a captured graph works on the addresses that it was captured with, and memory that is not bound is not written.
Every call is recorded in order. What it computes is the sum of each image, on whatever lies in "device" memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgecnn.runtimes.base import Array

ADDRESSES = itertools.count(0x1000, 0x100)


class FakeOrt:
    """The module.

    Args:
        folder: where the package would lie; its libraries are in folder/capi.
        providers: what `get_available_providers` says was compiled in.
        active: what sessions have; None gives what they are asked for, and the CPU.
        placed: provider -> names of nodes on it; None puts two nodes on the first provider.
        refuse: raised when a session is created, given how many were created before and the providers' options.
    """

    __version__ = "1.31.1"

    def __init__(
        self,
        folder: Path,
        *,
        providers: Sequence[str] = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        active: Sequence[str] | None = None,
        placed: Mapping[str, Sequence[str]] | None = None,
        refuse: Callable[[int, dict[str, dict[str, str]]], Exception | None] | None = None,
    ) -> None:
        self.__file__ = str(folder / "__init__.py")
        self.calls: list[tuple[Any, ...]] = []
        self.sessions: list[FakeSession] = []
        self.active, self.placed, self.refuse = active, placed, refuse
        self._providers = list(providers)
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._make)
        self.InferenceSession = type("InferenceSession", (FakeSession,), {"engine": self})

    def get_available_providers(self) -> list[str]:
        """Return what was compiled in."""
        return self._providers

    def SessionOptions(self) -> Any:  # noqa: N802 (the engine's name)
        """Return options that keep their entries."""
        return _Entries()

    def RunOptions(self) -> Any:  # noqa: N802
        """Return options that keep their entries."""
        return _Entries()

    def _make(self, shape: Sequence[int], dtype: Any, device: str, number: int) -> FakeValue:
        self.calls.append(("allocate", device, number, tuple(shape)))
        return FakeValue(self, np.zeros(shape, dtype), device)


class _Entries(SimpleNamespace):
    """Attributes and configuration entries."""

    def __init__(self) -> None:
        super().__init__(entries={})

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    add_run_config_entry = add_session_config_entry


class FakeValue:
    """Memory of a device at an address."""

    def __init__(self, engine: FakeOrt, array: Array, device: str) -> None:
        self.engine, self.array, self.device = engine, array, device
        self.address = next(ADDRESSES)
        self.pending = False

    def update_inplace(self, array: Array) -> None:
        """Copy from the host."""
        assert array.flags.c_contiguous, "the engine copies bytes"
        assert array.shape == self.array.shape
        assert array.dtype == self.array.dtype
        self.engine.calls.append(("copy in", self.address))
        self.array[...] = array

    def numpy(self) -> Array:
        """Copy to the host."""
        assert not self.pending, "read before the device had finished"
        self.engine.calls.append(("copy out", self.address))
        return self.array.copy() if self.device != "cpu" else self.array[...]


class FakeSession:
    """InferenceSession with one float32 input [N, 1, 8, 8] and one output [N, 1]."""

    engine: FakeOrt

    def __init__(self, path: str, sess_options: Any, providers: Any, enable_fallback: bool) -> None:
        assert enable_fallback is False, "the engine would fall back in silence"
        self.options = {name: dict(values) for name, values in providers or []}
        failure = self.engine.refuse(len(self.engine.sessions), self.options) if self.engine.refuse else None
        self.engine.sessions.append(self)
        self.engine.calls.append(("create", tuple(self.options)))
        if failure is not None:
            raise failure
        self.path, self.sess_options = path, sess_options
        self._active = list(self.engine.active or (*self.options, "CPUExecutionProvider"))
        self._graphs: dict[str, tuple[int, ...]] = {}
        self._seen: dict[str, int] = {}

    def get_inputs(self) -> list[Any]:
        """Return the inputs' descriptions."""
        return [SimpleNamespace(name="input", type="tensor(float)", shape=["N", 1, 8, 8])]

    def get_outputs(self) -> list[Any]:
        """Return the outputs' descriptions."""
        return [SimpleNamespace(name="logits", type="tensor(float)", shape=["N", 1])]

    def get_providers(self) -> list[str]:
        """Return the providers that the session has."""
        return self._active

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """Return which provider has which nodes."""
        placed = self.engine.placed or {self._active[0]: ("c1", "r1")}
        return [
            SimpleNamespace(
                ep_name=name,
                get_nodes=lambda nodes=nodes: [SimpleNamespace(name=one, op_type="Conv") for one in nodes],
            )
            for name, nodes in placed.items()
        ]

    def io_binding(self) -> FakeBinding:
        """Return a binding without anything bound."""
        return FakeBinding(self)

    def run_with_iobinding(self, binding: FakeBinding, options: Any = None) -> None:
        """Queue a run; what it gives is there after `synchronize_outputs`."""
        graph = options.entries.get("gpu_graph_id", "") if options is not None else ""
        addresses = (binding.input.address, binding.output.address)
        self.engine.calls.append(("run", graph, *addresses))
        if graph not in ("", "-1"):
            self._seen[graph] = self._seen.get(graph, 0) + 1
            if self._seen[graph] == 2:
                self.engine.calls.append(("capture", graph))
                self._graphs[graph] = addresses
            captured = self._graphs.get(graph, addresses)
            assert captured == addresses, "a graph was replayed with other memory than it was captured with"
        binding.queue()


class FakeBinding:
    """What a run reads and writes."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self._queued = False

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        """Bind memory to an input."""
        assert name == "input"
        self.input = value

    def bind_ortvalue_output(self, name: str, value: FakeValue) -> None:
        """Bind memory to an output."""
        assert name == "logits"
        self.output = value

    def synchronize_inputs(self) -> None:
        """Wait until the inputs are there."""
        self.session.engine.calls.append(("wait in",))

    def synchronize_outputs(self) -> None:
        """Wait until the outputs are there."""
        self.session.engine.calls.append(("wait out",))
        if self._queued:
            self.output.array[...] = self.input.array.sum(axis=(1, 2, 3), keepdims=True)[:, :, 0, 0]
        self._queued = self.output.pending = False

    def queue(self) -> None:
        """Note a run that has not been waited for."""
        self._queued = self.output.pending = True

    def get_outputs(self) -> list[FakeValue]:
        """Return the outputs in the order in which they were bound."""
        return [self.output]
