"""Many small requests, few runs: `Batcher` puts requests that come at about the same time into one batch.

    with edgecnn.load("model.onnx") as classifier, edgecnn.Batcher(classifier, max_batch=8, max_wait_ms=2) as batcher:
        future = batcher.submit(image, deadline_s=0.5)
        future.result()                 # [Prediction(label, index, probability), ...]

A batch leaves when it is full or when its oldest request has waited `max_wait_ms`. The queue is bounded: what does not fit
is refused at once (`Overloaded`) or waits where it is submitted. Every request that was taken in gets one answer, one error
or is cancelled. Engines may choose other kernels for other batch sizes, so an answer can differ from that of `classify` in
the last bits of fp32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgecnn.batching.images import KEY, ImagePath
from edgecnn.batching.requestqueue import Request, RequestQueue
from edgecnn.batching.rows import batch_of, of_any_rows, run_images, run_together
from edgecnn.batching.stats import BatcherStats
from edgecnn.batching.workers import Workers
from edgecnn.errors import BadInput
from edgecnn.numbers import check_whole
from edgecnn.runtimes.base import Array, Feeds, check_feeds
from edgecnn.specs import TensorSpec

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier, Prediction
    from edgecnn.imageinput import OneImage
    from edgecnn.pool import Pool

__all__ = ["Batcher", "BatcherStats"]


class Batcher:
    """Runs requests of many threads in batches; see the module's docstring. It does not close the classifier.

    A model whose inputs and outputs share their first dimension is batched: free ("N"), or fixed, then short batches are
    filled up with copies of the last row. Any other model runs its requests one by one.

    Args:
        classifier: what runs the batches; a Pool of as many copies as there are workers where the engine serialises.
        max_batch: most rows of one run; a model of a smaller fixed batch keeps to its own.
        max_wait_ms: how long a request waits for company, but never more than half of its deadline.
        queue_size: how many requests may wait.
        workers: threads that run batches.
        clock: monotonic, nanoseconds.

    Attributes:
        max_batch: most rows of one run, and of one request.

    Raises:
        BadInput: an argument out of range.
    """

    def __init__(
        self,
        classifier: Classifier | Pool[Classifier],
        max_batch: int = 8,
        max_wait_ms: float = 2.0,
        queue_size: int = 64,
        workers: int = 1,
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("queue_size", queue_size), ("workers", workers)):
            check_whole(name, value)
        if not isinstance(max_wait_ms, (int, float)) or not 0 <= max_wait_ms < math.inf:
            raise BadInput("max_wait_ms", expected="a number of at least 0", got=str(max_wait_ms))
        if not hasattr(classifier, "inputs"):
            raise BadInput(
                "classifier",
                "edgecnn.load(path) makes one",
                expected="a Classifier or a Pool",
                got=repr(classifier)[:40],
            )
        self._classifier = classifier
        self._images: ImagePath | None = None
        self._clock = clock
        self._wait_ns = round(max_wait_ms * 1e6)
        batch = batch_of(classifier.inputs, classifier.outputs)
        self._fill = batch if isinstance(batch, int) else None
        self._batched = batch is not None
        self._inputs = of_any_rows(classifier.inputs) if self._batched else classifier.inputs
        self.max_batch = min(max_batch, self._fill or max_batch) if self._batched else 1
        self._workers = Workers(self._run, RequestQueue(size=queue_size, max_rows=self.max_batch), clock)
        self._workers.start(workers)

    def submit(
        self, image: OneImage, *, top: int = 5, deadline_s: float | None = None, block_s: float | None = 0.0
    ) -> Future[list[Prediction]]:
        """Queue an image and return the future of its most probable classes, best first.

        Args:
            image: as for `Classifier.classify`; scaled in the calling thread, and free to be changed afterwards.
            top: how many classes.
            deadline_s: the run must begin within this time, seconds; else the future gets DeadlineExceeded.
            block_s: how long this call waits for room in a full queue, seconds; None for ever.

        Raises:
            BadInput: an image of another dtype or shape, or an argument out of range; nothing was queued.
            Overloaded: the queue is full; nothing was queued.
            RuntimeError: the batcher is closed.
        """
        check_whole("top", top)
        # A full queue says so before the work on the image is done.
        self._workers.admit(block_s)
        images = self._image_path()
        framed = images.frame(image)
        feeds = {self._inputs[0].name: framed}
        return self._put(
            feeds, images.key(framed), lambda outputs: images.predictions(outputs, top), deadline_s, block_s
        )

    def submit_feeds(
        self, feeds: Feeds, *, deadline_s: float | None = None, block_s: float | None = 0.0
    ) -> Future[dict[str, Array]]:
        """Queue prepared inputs and return the future of the graph's outputs, as many rows as the inputs have.

        Args:
            feeds: one array per input, 1 to `max_batch` rows; left alone by the caller until the answer is there.
            deadline_s: see `submit`.
            block_s: see `submit`.

        Raises:
            BadInput: as `Session.run`, or too many rows; nothing was queued.
            Overloaded: the queue is full; nothing was queued.
            RuntimeError: the batcher is closed.
        """
        check_feeds(self._inputs, feeds)
        key = tuple([(name, feeds[name].shape[1:]) for name in sorted(feeds)])
        return self._put(feeds, key, lambda outputs: outputs, deadline_s, block_s)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What `submit_feeds` takes: the graph's inputs, with a free first dimension where requests are put together."""
        return self._inputs

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests."""
        return self._workers.closing

    def stats(self) -> BatcherStats:
        """Return the figures of this moment."""
        return self._workers.stats()

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and return when the last run is done; further calls do nothing more.

        Called by a callback of one of its futures, this returns at once, and what waits is run or cancelled all the same.

        Args:
            drain: run all that waits; else cancel it.
        """
        self._workers.close(drain=drain)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"batches of 1 to {self.max_batch}"
        return f"<Batcher, {state}: {self._classifier!r}>"

    def __enter__(self) -> Batcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, batch: Sequence[Request]) -> list[dict[str, Array]]:
        if batch[0].key == KEY:
            return run_images(self._classifier.run, batch, fill=self._fill, prepare=self._image_path().prepare)
        return run_together(self._classifier.run, batch, fill=self._fill)

    def _image_path(self) -> ImagePath:
        """Return what images go through; a model that takes none may still run prepared arrays."""
        if self._images is None:
            own = self._classifier
            self._images = ImagePath(own.artifact, own.inputs, own.outputs[0].name, max_pixels=own.max_pixels)
        return self._images

    def _put(
        self,
        feeds: Feeds,
        key: Hashable,
        finish: Callable[[dict[str, Array]], Any],
        deadline_s: float | None,
        block_s: float | None,
    ) -> Future[Any]:
        if deadline_s is not None and not 0 < deadline_s < math.inf:
            raise BadInput("deadline_s", expected="a number above 0", got=str(deadline_s))
        rows = len(next(iter(feeds.values()))) if self._batched else 0
        if rows > self.max_batch:
            raise BadInput(
                "rows",
                "split the request, or allow a larger max_batch",
                expected=f"at most {self.max_batch}",
                got=str(rows),
            )
        if deadline_s is not None:
            block_s = deadline_s if block_s is None else min(block_s, deadline_s)
        now_ns = self._clock()
        allowed_ns = None if deadline_s is None else round(deadline_s * 1e9)
        request = Request(
            feeds=feeds,
            rows=rows,
            key=key,
            finish=finish,
            submitted_ns=now_ns,
            due_ns=now_ns + min(self._wait_ns, self._wait_ns if allowed_ns is None else allowed_ns // 2),
            deadline_ns=None if allowed_ns is None else now_ns + allowed_ns,
        )
        self._workers.put(request, block_s)
        return request.future
