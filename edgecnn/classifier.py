"""What an edge app embeds: `classify` images, `run` arrays; `edgecnn.load` makes one of a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from edgecnn.answers import Prediction, predictions
from edgecnn.errors import BadInput, InferenceError
from edgecnn.imageinput import check_image_input, is_one_image, pixels_of
from edgecnn.numbers import check_whole
from edgecnn.preprocess import Canvas, Image, runs_of_one_size
from edgecnn.runtimes.base import Array, Feeds, Session
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, EngineInfo, TensorSpec, sized_inputs

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from edgecnn.imageinput import OneImage

__all__ = ["Classifier", "Prediction"]

T = TypeVar("T")

_CLOSED = "this classifier is closed"

# Threads of run_async and classify_async at most; more than engines gain by running several requests at once.
_MOST_WORKERS = 4


class Classifier:
    """A model file that is ready to classify images; made by `load`. May be used from several threads.

    Attributes:
        artifact: the file and what it says about itself.
        max_pixels: of an image that has to be decoded; None is `edgecnn.images.MAX_PIXELS`.

    Raises:
        BadInput: `max_pixels` below 1.
    """

    def __init__(self, artifact: Artifact, session: Session, *, max_pixels: int | None = None) -> None:
        if max_pixels is not None:
            check_whole("max_pixels", max_pixels)
        self.artifact = artifact
        self.max_pixels = max_pixels
        self._session = session
        self._closed = False
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._own = _OfThread()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._session.outputs

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return the graph's outputs for prepared inputs; see `edgecnn.runtimes.base.Session.run`.

        Raises:
            RuntimeError: the classifier is closed.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        return self._session.run(feeds)

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is also an iterable of str
        self, images: OneImage, *, top: int = 5
    ) -> list[Prediction]: ...

    @overload
    def classify(self, images: Iterable[OneImage], *, top: int = 5) -> list[list[Prediction]]: ...

    def classify(
        self, images: OneImage | Iterable[OneImage], *, top: int = 5
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the most probable classes, best first.

        Args:
            images: one image, or several, which are run as one batch; of a file that scales images itself, those of one size
                that follow each other. An image is uint8 [H, W], [H, W, 1], [H, W, 3] (RGB)
                or [H, W, 4], 0..255, of any size; or an image of Pillow; or the path of an image file, for which Pillow
                is imported. A uint8 [N, H, W, C] array is a batch.
            top: how many classes.

        Returns:
            A list of `top` predictions for one image, a list of such lists for several.

        Raises:
            BadInput: what is no image, no image at all, or a file that does not say how to prepare images or has another
                number of labels than classes.
            MissingDependency: a path was given and Pillow is not installed.
            InferenceError: the engine failed, or its scores are not numbers.
            RuntimeError: the classifier is closed.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        if type(top) is not int or top < 1:
            check_whole("top", top)
        exact = self._canvas().of_exact(images) if type(images) is np.ndarray else None
        if exact is not None:
            single, scores = True, self._scores_of(exact)
        else:
            single = is_one_image(images)
            scores = self._scores(pixels_of([images] if single else images, max_pixels=self.max_pixels))
        labels, name = self.artifact.spec.labels, self._session.outputs[0].name
        if labels and scores.shape[1] != len(labels):
            raise BadInput(f"{self.artifact.path}: labels", expected=f"{scores.shape[1]} names", got=str(len(labels)))
        if single:
            return predictions(scores[0], labels, top, output=name)
        return [predictions(row, labels, top, output=name) for row in scores]

    def scores(self, images: Iterable[OneImage]) -> NDArray[np.float32]:
        """Return the raw scores (logits), float32 [N, classes], of several images, each as for `classify`.

        Raises:
            BadInput: what is no image, no image at all, or a file that does not say how to prepare images.
            MissingDependency: a path was given and Pillow is not installed.
            InferenceError: the engine failed.
            RuntimeError: the classifier is closed.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        if is_one_image(images):
            raise BadInput(
                "images", expected="several: a list of them, or uint8 [N, height, width, C]", got="one image"
            )
        return self._scores(pixels_of(images, max_pixels=self.max_pixels))

    def _scores(self, images: Sequence[Image]) -> NDArray[np.float32]:
        canvas = self._canvas()
        if canvas.spec.resize_in_graph and len(images) > 1:
            return np.concatenate([self._scores_of(canvas.prepare(run)) for run in runs_of_one_size(images)])
        return self._scores_of(canvas.prepare(images))

    def _scores_of(self, prepared: Array) -> NDArray[np.float32]:
        source = self._session.inputs[0]
        name, fixed = source.name, source.shape[0]
        if isinstance(fixed, str) or fixed == len(prepared):
            return self._first_output({name: prepared}, len(prepared))
        parts = [prepared[start : start + fixed] for start in range(0, len(prepared), fixed)]
        # A file of a fixed batch runs whole batches: the last image fills the last one up.
        full = [np.concatenate([part, part[-1:].repeat(fixed - len(part), axis=0)]) for part in parts]
        return np.concatenate([self._first_output({name: part}, fixed) for part in full])[: len(prepared)]

    def run_async(self, feeds: Feeds) -> Future[dict[str, Array]]:
        """Return at once the future of what `run` returns; leave the arrays alone until it is done.

        A few threads of the classifier's own do the work, in the order of the calls. What waits is not limited; see
        `edgecnn.Batcher` for that.

        Raises:
            RuntimeError: the classifier is closed.
        """
        return self._submit(lambda: self.run(feeds))

    @overload
    def classify_async(  # type: ignore[overload-overlap]
        self, images: OneImage, *, top: int = 5
    ) -> Future[list[Prediction]]: ...

    @overload
    def classify_async(self, images: Iterable[OneImage], *, top: int = 5) -> Future[list[list[Prediction]]]: ...

    def classify_async(
        self, images: OneImage | Iterable[OneImage], *, top: int = 5
    ) -> Future[list[Prediction]] | Future[list[list[Prediction]]]:
        """Return at once the future of what `classify` returns; see `run_async`.

        Raises:
            RuntimeError: the classifier is closed.
        """
        return self._submit(lambda: self.classify(images, top=top))  # type: ignore[return-value]

    def warm_up(self, batch: int | Sequence[int] = 1, *, runs: int = 3) -> dict[int, tuple[int, ...]]:
        """Run zeros, so that the first real image does not pay for what engines put off; return how long it took.

        Engines plan per input shape: name every batch size that will be used. A file that scales images itself runs one of
        `Preprocess.example_size`.

        Args:
            batch: images per run, or several such numbers; a file of a fixed batch runs that.
            runs: of each.

        Returns:
            Batch size -> duration of each run in nanoseconds, in order.

        Raises:
            BadInput: a number below 1, or an input with a free dimension besides the batch.
            InferenceError: the engine failed.
            RuntimeError: the classifier is closed.
        """
        from edgecnn.blank import zero_feeds  # noqa: PLC0415 (not every app warms up)

        sizes = tuple(batch) if isinstance(batch, (list, tuple, range)) else (batch,)
        check_whole("runs", runs)
        check_whole("batches", len(sizes))
        for size in sizes:
            check_whole("batch", size)
        inputs = sized_inputs(self.inputs, self.artifact.spec.preprocess)
        return {size: self._timed_runs(zero_feeds(inputs, batch=size), runs) for size in sizes}

    def info(self) -> EngineInfo:
        """Return what really runs this model.

        Raises:
            RuntimeError: the classifier is closed.
        """
        if self._closed:
            raise RuntimeError(_CLOSED)
        return self._session.info()

    def close(self) -> None:
        """Give the engine's memory back; further calls do nothing.

        Work of `run_async` that has begun is finished; futures of what waits get the RuntimeError of a closed classifier.
        """
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        if executor is not None:
            # Not cancelled: `concurrent.futures.wait` would wait for ever for what an executor cancels as it ends.
            executor.shutdown(wait=not self._own.is_worker)
        self._session.close()
        self._own = _OfThread()

    def __repr__(self) -> str:
        state = "closed" if self._closed else repr(self._session)
        return f"<Classifier {self.artifact.path.name}: {state}>"

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _canvas(self) -> Canvas:
        """Return this thread's room for inputs."""
        canvas = self._own.canvas
        if canvas is None:
            canvas = self._own.canvas = Canvas(check_image_input(self.artifact, self.inputs))
        return canvas

    def _first_output(self, feeds: dict[str, Any], count: int) -> NDArray[np.float32]:
        """Return the scores, [count, classes]."""
        if self._closed:
            raise RuntimeError(_CLOSED)
        session = self._session
        name = session.outputs[0].name
        scores: NDArray[np.float32] = session.run(feeds)[name]
        shape = scores.shape
        if len(shape) < 2 or shape[0] != count or scores.size == 0:
            raise InferenceError(f"output {name}: expected scores of {count} images, got shape {list(shape)}")
        return scores if len(shape) == 2 else scores.reshape(count, -1)

    def _timed_runs(self, feeds: Feeds, runs: int) -> tuple[int, ...]:
        durations = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            self.run(feeds)
            durations.append(time.perf_counter_ns() - start)
        return tuple(durations)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (an eighth of the import of this module)

        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            if self._executor is None:
                self._executor = ThreadPoolExecutor(
                    min(_MOST_WORKERS, usable_threads()), "edgecnn", initializer=self._own.mark_worker
                )
            return self._executor.submit(work)


class _OfThread(threading.local):
    """What each thread has of its own."""

    canvas: Canvas | None = None
    is_worker = False

    def mark_worker(self) -> None:
        self.is_worker = True
