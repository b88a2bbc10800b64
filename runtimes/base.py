"""The contract of a backend: read this first when you add one.

A backend is one file in this folder with a class that has `name`, `formats`, `check` and `open`; `open` gives a
Session. Its name goes into `edgecnn.runtimes.PLUGINS`, or, from another package, into the entry-point group "edgecnn.runtimes".

A backend is strict: it runs where it was asked to run or raises ProviderFallback; it never prints, never configures
logging, never writes to the environment. `edgecnn.testing.conformance` holds every backend to this page.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import field, fields
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgecnn.errors import BadInput, Contradiction
from edgecnn.numbers import check_whole
from edgecnn.specs import Artifact, EngineInfo, Scalar, TensorSpec

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from edgecnn.values import dataclass

# What numpy.typing.NDArray[Any] stands for, without that module.
Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]
Feeds = Mapping[str, Array]

# So many different combinations of shapes are remembered as checked; a server of variable batches stays bounded.
_KEPT_SIGNATURES = 16

_CLOSED = "this session is closed"


# More than any machine of today has; engines fail in their own words on numbers that no integer of theirs holds.
_MOST_THREADS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How a session is opened; what a backend does not know it refuses.

    Attributes:
        threads: threads of one operator, 1 to 1024; None takes what affinity, container quota and large cores allow.
        spinning: worker threads wait actively between operators: lower latency, more power.
        arena: keep freed memory for the next run: faster, more memory.
        allow_fallback: let nodes run on another provider than the one asked for.
        max_batch: the largest batch that will be run, for engines that build for a range; None takes what the file
            has, or 1 where it takes any.
        cache: keep between processes what takes long to make, an optimised model or a built engine; None is the
            backend's default.
        cache_folder: where, and where `edgecnn.load` remembers which foreign files it has tried; it does not turn `cache`
            on. None is `edgecnn.runtimes.cache.default_folder()`.
        trust_engine: load a built engine that did not come out of the cache; it is executable code.
        engine: further options by the engine's own names.
    """

    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    allow_fallback: bool = False
    max_batch: int | None = None
    cache: bool | None = None
    cache_folder: Path | None = None
    trust_engine: bool = False
    engine: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None:
            check_whole("threads", self.threads, high=_MOST_THREADS)
        if self.cache_folder is not None and not isinstance(self.cache_folder, Path):
            raise BadInput("cache_folder", expected="a pathlib.Path", got=type(self.cache_folder).__name__)
        if self.max_batch is not None:
            check_whole("max_batch", self.max_batch)
        for name in ("spinning", "arena", "allow_fallback", "trust_engine"):
            if not isinstance(getattr(self, name), bool):
                raise BadInput(name, expected="True or False", got=repr(getattr(self, name))[:40])
        if not (self.cache is None or isinstance(self.cache, bool)):
            raise BadInput("cache", expected="True, False or None", got=repr(self.cache)[:40])
        if not isinstance(self.engine, Mapping):
            raise BadInput("engine", expected="a mapping of the engine's option names", got=type(self.engine).__name__)


class Session(ABC):
    """A model that is ready to run.

    Subclasses write `_run`, `_info` and `_close`; checks, state and error texts live here. `run` may be called from
    several threads at once unless the backend says otherwise. The arrays that `run` returns belong to the caller.

    Args:
        inputs: the graph's inputs.
        outputs: the graph's outputs.
    """

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._accepted: set[object] = set()
        self._closed = False
        self._closing = Lock()

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return one array per output.

        Args:
            feeds: one array per input, of exactly its dtype and a shape that fits.

        Raises:
            BadInput: no mapping of arrays, a missing or unknown input, another dtype or byte order, a shape that does
                not fit.
            InferenceError: the engine failed; its exception is the cause.
            RuntimeError: the session is closed, or was closed by another thread during this run.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        signature: object
        try:
            signature = tuple([(name, type(array), array.shape, array.dtype) for name, array in feeds.items()])
        except AttributeError:
            signature = None  # no arrays: the check names them
        if signature not in self._accepted:
            self._check(feeds, signature)
        try:
            return self._run(feeds)
        except Exception as error:
            if self._closed:
                raise RuntimeError(_CLOSED) from error
            raise

    def _check(self, feeds: Feeds, signature: object) -> None:
        check_feeds(self.inputs, feeds)
        if len(self._accepted) >= _KEPT_SIGNATURES:
            self._accepted.clear()
        self._accepted.add(signature)

    @abstractmethod
    def _run(self, feeds: Feeds) -> dict[str, Array]:
        """Run checked feeds."""

    def info(self) -> EngineInfo:
        """Return what really runs this model: engine, providers asked and active, nodes of each, threads, options.

        Raises:
            RuntimeError: the session is closed.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        return self._info()

    @abstractmethod
    def _info(self) -> EngineInfo:
        """Describe an open session."""

    def close(self) -> None:
        """Give the engine's memory back; further calls do nothing."""
        with self._closing:
            closed, self._closed = self._closed, True
        if not closed:
            self._close()

    def _close(self) -> None:
        """Release what the engine holds; called once."""

    def __repr__(self) -> str:
        """Return backend, engine and threads, and whether it is closed; this never raises."""
        name = type(self).__name__
        try:
            if self._closed:
                return f"<{name}, closed>"
            info = self._info()
        except Exception:  # half made, or the engine is gone: who debugs that wants its name at least
            return f"<{name}>"
        threads = "" if info.threads is None else f", threads {info.threads}"
        return f"<{name} on {info.backend} ({info.engine} {info.engine_version}){threads}>"

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
            Contradiction: an option that this backend cannot honour, or one that OpenOptions has a field for.
            UnknownName: an engine option that this backend does not know.
        """
        ...


def check_honoured(backend: str, options: OpenOptions, honoured: Collection[str]) -> None:
    """Return if a backend can do all that was asked for.

    Args:
        backend: its name.
        options: what was asked for.
        honoured: fields of OpenOptions that it acts upon, besides `engine` and `max_batch`, which is a promise of the
            caller that an engine of any batch may pass over.

    Raises:
        Contradiction: another field has another value than its default.
    """
    for field_ in fields(options):
        if field_.name in ("engine", "max_batch", *honoured):
            continue
        value = getattr(options, field_.name)
        if value != field_.default and not (field_.name == "cache" and value is False):
            other = (
                "it is for built engines, see backend trt" if field_.name == "trust_engine" else "or take backend cpu"
            )
            raise Contradiction(f"backend {backend} cannot honour {field_.name}={value}", f"leave it out, {other}")


def check_cache_folder(options: OpenOptions) -> None:
    """Raise Contradiction if a folder is given for a cache that is turned off."""
    if options.cache is False and options.cache_folder is not None:
        raise Contradiction("cache=False and cache_folder exclude each other", "leave one of them out")


def check_feeds(inputs: tuple[TensorSpec, ...], feeds: Feeds) -> None:
    """Raise BadInput unless there is one fitting array per input; equal symbols must stand for equal sizes."""
    if not isinstance(feeds, Mapping):
        raise BadInput("feeds", expected="a mapping of input names to numpy arrays", got=type(feeds).__name__)
    names = [spec.name for spec in inputs]
    if set(feeds) != set(names):
        raise BadInput("inputs", expected=", ".join(names), got=", ".join(map(str, feeds)) or "none")
    symbols: dict[str, int] = {}
    for spec in inputs:
        array = feeds[spec.name]
        if not isinstance(array, np.ndarray):
            raise BadInput(f"input {spec.name}", expected="a numpy array", got=type(array).__name__)
        _check_dtype(spec, array)
        if not _fits(spec.shape, array.shape, symbols):
            wanted = ", ".join(map(str, spec.shape))
            raise BadInput(f"input {spec.name}", expected=f"shape [{wanted}]", got=f"{list(array.shape)}")


def _check_dtype(spec: TensorSpec, array: Array) -> None:
    try:
        fits = array.dtype == np.dtype(spec.dtype)
    except TypeError:
        raise BadInput(f"input {spec.name} has type {spec.dtype}, which numpy does not have") from None
    if not fits:
        swapped = not array.dtype.isnative and array.dtype.newbyteorder("=") == np.dtype(spec.dtype)
        raise BadInput(
            f"input {spec.name}",
            f"the bytes are in foreign order: array.astype({spec.dtype!r})" if swapped else "",
            expected=spec.dtype,
            got=str(array.dtype),
        )


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
