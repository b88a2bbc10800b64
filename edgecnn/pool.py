"""Several copies of one model, for engines that run one request at a time: `Pool` lends them out, one user each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from threading import Condition, Lock, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from edgecnn.errors import BadInput, Overloaded
from edgecnn.numbers import check_whole
from edgecnn.runtimes.base import Array, Feeds
from edgecnn.specs import Artifact, EngineInfo, TensorSpec

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier, Prediction

_CLOSED = "this pool is closed"

# TensorRT and ONNX Runtime's TensorRT provider make no promise for sessions that are created at the same time:
# https://github.com/microsoft/onnxruntime/issues/27089. One lock for all pools of the process.
_CREATION = Lock()


Lent = TypeVar("Lent", bound=Any)


class Pool(Generic[Lent]):
    """Lends copies of one model, each to one user at a time.

        with Pool("model.onnx", 2, backend="trt") as pool:
            pool.classify(image)                 # by whichever copy is free
            with pool.lend(timeout_s=1) as classifier:
                classifier.run(feeds)

    One Classifier serves many threads on engines that run them side by side (cpu); a pool is for those that take one
    after the other, and costs the model's memory once per copy. It may be used from several threads.

    Args:
        source: a model file, opened by `edgecnn.load`, or a callable that returns a Classifier or Session.
        size: how many copies; all are made now, one after the other.
        load: options of `edgecnn.load`, for a file only.

    Attributes:
        size: how many copies there are.

    Raises:
        BadInput: a size below 1, or options beside a callable.
        EdgecnnError: as `edgecnn.load` or the callable; the copies made so far are closed.
    """

    @overload
    def __init__(self: Pool[Classifier], source: str | PathLike[str], size: int = 2, **load: Any) -> None: ...

    @overload
    def __init__(self, source: Callable[[], Lent], size: int = 2) -> None: ...

    def __init__(self, source: str | PathLike[str] | Callable[[], Lent], size: int = 2, **load: Any) -> None:
        check_whole("size", size)
        self.size = size
        self._lock = Lock()
        self._free = Condition(self._lock)
        self._back = Condition(self._lock)
        self._all = _make(_factory(source, load), size)
        self._idle = list(self._all)
        self._holders: list[int] = []
        self._closing = False

    @property
    def artifact(self: Pool[Classifier]) -> Artifact:
        """What the file says about itself."""
        artifact: Artifact = self._all[0].artifact
        return artifact

    @property
    def max_pixels(self: Pool[Classifier]) -> int | None:
        """Of an image that has to be decoded; None is `edgecnn.images.MAX_PIXELS`."""
        limit: int | None = self._all[0].max_pixels
        return limit

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        inputs: tuple[TensorSpec, ...] = self._all[0].inputs
        return inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        outputs: tuple[TensorSpec, ...] = self._all[0].outputs
        return outputs

    @property
    def idle(self) -> int:
        """How many copies are free now."""
        with self._lock:
            return len(self._idle)

    @contextmanager
    def lend(self, timeout_s: float | None = None) -> Iterator[Lent]:
        """Return a copy for the `with` block; nobody else has it until the block ends. Do not close it.

        Args:
            timeout_s: wait at most so long for a free one; None waits for ever, 0 not at all.

        Raises:
            Overloaded: none came free in that time.
            RuntimeError: the pool is closed, or was closed while this waited.
        """
        holder = get_ident()
        lent = self._borrow(holder, timeout_s)
        try:
            yield lent
        finally:
            self._give_back(holder, lent)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return the graph's outputs for prepared inputs, by a copy that is free; waits for one."""
        with self.lend() as lent:
            outputs: dict[str, Array] = lent.run(feeds)
            return outputs

    def classify(self: Pool[Classifier], images: Any, *, top: int = 5) -> Any:
        """Return the most probable classes as `Classifier.classify` does, by a copy that is free; waits for one."""
        with self.lend() as classifier:
            answers: list[Prediction] | list[list[Prediction]] = classifier.classify(images, top=top)
            return answers

    def info(self) -> EngineInfo:
        """Return what really runs each copy."""
        info: EngineInfo = self._all[0].info()
        return info

    def close(self) -> None:
        """Wait until all copies are back, then close them; whoever waits for one gets a RuntimeError. Further calls wait too.

        Raises:
            RuntimeError: called inside the `with` block of a copy that this thread was lent.
        """
        with self._lock:
            if get_ident() in self._holders:
                raise RuntimeError("this pool cannot be closed by a thread that it has lent a copy to")
            self._closing = True
            self._free.notify_all()
            self._back.wait_for(lambda: not self._holders)
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def __repr__(self) -> str:
        # Without the lock, which whoever looks at this may hold.
        state = "closed" if self._closing else f"{len(self._idle)} free"
        return f"<Pool of {self.size}, {state}: {self._all[0]!r}>"

    def __enter__(self) -> Pool[Lent]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _borrow(self, holder: int, timeout_s: float | None) -> Lent:
        with self._lock:
            if not self._free.wait_for(lambda: self._idle or self._closing, timeout_s):
                raise Overloaded(
                    f"all {self.size} copies of the model were in use for {timeout_s:g} s",
                    "wait longer, or give the pool a larger size",
                )
            if self._closing:
                raise RuntimeError(_CLOSED)
            self._holders.append(holder)
            # The one that came back last has its memory in the caches.
            return self._idle.pop()

    def _give_back(self, holder: int, lent: Lent) -> None:
        with self._lock:
            self._holders.remove(holder)
            self._idle.append(lent)
            self._free.notify()
            self._back.notify_all()


def _factory(source: str | PathLike[str] | Callable[[], Lent], load: dict[str, Any]) -> Callable[[], Lent]:
    if callable(source):
        if load:
            raise BadInput("options of load", expected="none beside a callable", got=", ".join(load))
        return source
    from edgecnn.loading import load as open_classifier  # noqa: PLC0415 (a pool of sessions needs no classifier)

    path = source

    def opened() -> Any:
        return open_classifier(path, **load)

    return opened


def _make(factory: Callable[[], Lent], size: int) -> Sequence[Lent]:
    made: list[Lent] = []
    try:
        for _ in range(size):
            with _CREATION:
                made.append(factory())
    except BaseException:
        for one in made:
            one.close()
        raise
    return made
