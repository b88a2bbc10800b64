"""The contract of a backend: read this first when you add one.

A backend is one file in this folder with a class that has `name`, `formats`, `check` and `open`; `open` gives a
Session. Its name goes into `edgecnn.runtimes.PLUGINS`, or, from another package, into the entry-point group "edgecnn.runtimes".

A backend is strict: it runs where it was asked to run or raises ProviderFallback; it never prints, never configures
logging, never writes to the environment. `edgecnn.testing.conformance` holds every backend to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecnn.errors import BadInput
from edgecnn.specs import Artifact, EngineInfo, Scalar, TensorSpec

Array = NDArray[Any]
Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How a session is opened; what a backend does not know it refuses.

    Attributes:
        threads: threads of one operator, at least 1; None takes what affinity and container quota allow.
        spinning: worker threads wait actively between operators: lower latency, more power.
        arena: keep freed memory for the next run: faster, more memory.
        allow_fallback: let nodes run on another provider than the one asked for.
        engine: further options by the engine's own names.
    """

    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    allow_fallback: bool = False
    engine: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise BadInput("threads", expected="at least 1", got=str(self.threads))


class Session(ABC):
    """A model that is ready to run.

    Subclasses write `_run`, `info` and `_close`; checks, state and error texts live here. `run` may be called from
    several threads at once unless the backend says otherwise. The arrays that `run` returns belong to the caller.

    Args:
        inputs: the graph's inputs.
        outputs: the graph's outputs.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._accepted: set[tuple[tuple[str, tuple[int, ...], str], ...]] = set()
        self._closed = False

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return one array per output.

        Args:
            feeds: one array per input, of exactly its dtype and a shape that fits.

        Raises:
            BadInput: a missing or unknown input, another dtype, a shape that does not fit.
            InferenceError: the engine failed; its exception is the cause.
            RuntimeError: the session is closed.
        """
        if self._closed:
            raise RuntimeError("this session is closed")
        try:
            signature = tuple([(name, array.shape, array.dtype.char) for name, array in feeds.items()])
        except AttributeError:
            raise BadInput("feeds", expected="a numpy array per input", got=_types(feeds)) from None
        if signature not in self._accepted:
            check_feeds(self.inputs, feeds)
            self._accepted.add(signature)
        return self._run(feeds)

    @abstractmethod
    def _run(self, feeds: Feeds) -> dict[str, Array]:
        """Run checked feeds."""

    @abstractmethod
    def info(self) -> EngineInfo:
        """Return what really runs this model: engine, providers asked and active, nodes of each, threads, options."""

    def close(self) -> None:
        """Give the engine's memory back; further calls do nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    def _close(self) -> None:
        """Release what the engine holds; called once."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Runtime(Protocol):
    """A backend.

    Attributes:
        name: what follows `--backend`.
        formats: formats of the artifacts that it opens, ("onnx",) for example.
    """

    name: str
    formats: tuple[str, ...]

    def check(self) -> None:
        """Return if this backend can run here.

        Raises:
            MissingDependency: its package is not installed; the hint is the pip command.
            RuntimeUnavailable: the reason, and the exact fix as hint.
        """
        ...

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session for an artifact.

        Raises:
            BadInput: the file is not a model that this engine reads.
            ProviderFallback: nodes would run elsewhere than asked for.
            Contradiction: an option that this backend cannot honour.
        """
        ...


def check_feeds(inputs: tuple[TensorSpec, ...], feeds: Feeds) -> None:
    """Raise BadInput unless there is one fitting array per input; equal symbols must stand for equal sizes."""
    names = [spec.name for spec in inputs]
    if set(feeds) != set(names):
        raise BadInput("inputs", expected=", ".join(names), got=", ".join(map(str, feeds)) or "none")
    symbols: dict[str, int] = {}
    for spec in inputs:
        array = feeds[spec.name]
        if array.dtype != np.dtype(spec.dtype):
            raise BadInput(f"input {spec.name}", expected=spec.dtype, got=str(array.dtype))
        if not _fits(spec.shape, array.shape, symbols):
            wanted = ", ".join(map(str, spec.shape))
            raise BadInput(f"input {spec.name}", expected=f"shape [{wanted}]", got=f"{list(array.shape)}")


def _fits(wanted: tuple[int | str, ...], shape: tuple[int, ...], symbols: dict[str, int]) -> bool:
    if len(wanted) != len(shape):
        return False
    for want, size in zip(wanted, shape, strict=True):
        if size < 1:
            return False
        wanted_size = symbols.setdefault(want, size) if isinstance(want, str) else want
        if wanted_size != size:
            return False
    return True


def _types(feeds: Feeds) -> str:
    return ", ".join(f"{name}: {type(array).__name__}" for name, array in feeds.items())
