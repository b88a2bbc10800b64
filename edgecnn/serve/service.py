"""The model behind a server: requests become batches, answers come back to the event loop."""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.batcher import Batcher
from edgecnn.batching.rows import batch_of
from edgecnn.blank import zero_feeds
from edgecnn.errors import BadInput, DeadlineExceeded
from edgecnn.imageinput import check_image_input
from edgecnn.images import decode_image
from edgecnn.serve.limits import InFlight, Limits, Problem, ending
from edgecnn.serve.protocol import (
    InferRequest,
    check_datatypes,
    check_fits,
    parse_request,
    render_answer,
    tensor_metadata,
)
from edgecnn.serve.uploads import image_bytes
from edgecnn.specs import sized_inputs

if TYPE_CHECKING:
    from edgecnn.classifier import Classifier, Prediction
    from edgecnn.pool import Pool
    from edgecnn.runtimes.base import Array

VERSION = "1"
"""The only version of the model."""

# Bodies up to here are parsed where they arrive: handing them to a thread and back takes longer than the work. Of pixels
# that need no decoder, and of binary tensors, there may be more.
_AT_ONCE_BYTES = 1 << 14
_PIXELS_AT_ONCE_BYTES = 1 << 18
_PIXELS = (b"P5", b"P6")

_DECODERS = 2
_WARM_S = 2.0


class Service:
    """One model that is served. Its coroutines belong to one event loop; `close` may come from anywhere.

    Args:
        classifier: the model; closed by whoever opened it.
        batcher: what runs it; closed by whoever opened it.
        name: of the model, in URLs.
        limits: what is refused.

    Attributes:
        name: of the model.
        limits: what is refused.
        in_flight: counts requests for inference.
        ready: whether new work should be sent here; the server turns it.

    Raises:
        BadInput: a tensor of the model cannot be sent over this protocol.
    """

    def __init__(
        self, classifier: Classifier | Pool[Classifier], batcher: Batcher, *, name: str, limits: Limits
    ) -> None:
        check_datatypes((*classifier.inputs, *classifier.outputs))
        self.name = name
        self.limits = limits
        self.batcher = batcher
        self.in_flight = InFlight(limits.in_flight)
        self.ready = False
        self._classifier = classifier
        self._threads = ThreadPoolExecutor(_DECODERS, "edgecnn-decode")
        self._lock = threading.Lock()
        self._settled: list[asyncio.Future[None]] = []
        self._no_images = _why_no_images(classifier)

    def metadata(self) -> dict[str, Any]:
        """Return what the protocol tells about the model."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": f"{self._classifier.info().engine}_{self._classifier.artifact.format}",
            "inputs": tensor_metadata(self._classifier.inputs),
            "outputs": tensor_metadata(self._classifier.outputs),
        }

    def deadline(self) -> float:
        """Return until when a request that comes now must have its answer, on the clock time.monotonic()."""
        return time.monotonic() + self.limits.deadline_s

    async def infer(self, body: bytes, header_length: int | None, end_s: float) -> tuple[bytes, int | None]:
        """Return the answer to a request for inference: its body, and the length of its JSON object before binary data.

        Args:
            body: of the request.
            header_length: bytes of the JSON object at its front; None where it is all of it.
            end_s: see `deadline`.

        Raises:
            BadInput: the request is not as the protocol or the model has it.
            Problem: 503, the model is about to go.
            Overloaded: too many requests wait.
            DeadlineExceeded: no answer came in time.
            InferenceError: the engine failed.
        """
        binary = header_length is not None and header_length <= _AT_ONCE_BYTES
        request: InferRequest = await self._work(len(body), parse_request, body, header_length, at_once=binary)
        self._check_outputs(request)
        left_s = self._left_s(end_s)
        allowed_s = self.limits.deadline_s
        if request.timeout_s is not None and request.timeout_s < left_s:
            left_s = allowed_s = request.timeout_s
        outputs = await self._answer(self._submit_feeds(request, left_s), left_s, allowed_s)
        return render_answer(request, outputs, model=self.name, version=VERSION)

    async def classify(self, body: bytes, content_type: str, top: int, end_s: float) -> list[Prediction]:
        """Return the most probable classes of the image in a body, best first.

        Raises:
            Problem: as `infer`; 404 for a model that takes no images, 415 for a body of another kind.
            BadInput: what is no image, or `top` below 1.
            Overloaded, DeadlineExceeded, InferenceError: as `infer`.
        """
        if self._no_images:
            raise Problem(404, self._no_images)
        if top < 1:
            raise BadInput("top", expected="at least 1", got=str(top))
        pixels = body[:2] in _PIXELS and len(body) <= _PIXELS_AT_ONCE_BYTES
        future = await self._work(len(body), self._submit_image, body, content_type, top, end_s, at_once=pixels)
        left_s = max(0.0, end_s - time.monotonic())
        predictions: list[Prediction] = await self._answer(future, left_s, self.limits.deadline_s)
        return predictions

    def close(self) -> None:
        """End the threads; further calls do nothing."""
        self._threads.shutdown()

    def _submit_feeds(self, request: InferRequest, left_s: float) -> Future[dict[str, Array]]:
        with self._ending_told():
            try:
                return self.batcher.submit_feeds(request.feeds, deadline_s=left_s)
            except BadInput:
                # In the words of the protocol, where it has some for this.
                hint = f"GET /v2/models/{self.name} tells names, datatypes and shapes"
                check_fits(self.batcher.inputs, request.feeds, hint)
                raise

    def _submit_image(self, body: bytes, content_type: str, top: int, end_s: float) -> Future[list[Prediction]]:
        image = decode_image(image_bytes(body, content_type), name="the image", max_pixels=self.limits.pixels)
        with self._ending_told():
            return self.batcher.submit(image, top=top, deadline_s=self._left_s(end_s))

    @contextmanager
    def _ending_told(self) -> Iterator[None]:
        """Tell a request that the batcher does not take any more what it can do, in place of a RuntimeError."""
        try:
            yield
        except RuntimeError:
            if self.batcher.closed:
                raise ending() from None
            raise

    def _left_s(self, end_s: float) -> float:
        """Return how long a request may still take; raise DeadlineExceeded where that is no time."""
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise _late(self.limits.deadline_s)
        return left_s

    def _check_outputs(self, request: InferRequest) -> None:
        """Refuse unknown outputs before the work and not after it."""
        known = [spec.name for spec in self._classifier.outputs]
        for name, _ in request.outputs or ():
            if name not in known:
                raise BadInput("outputs", expected=", ".join(known), got=name)

    async def _work(self, size: int, call: Any, *arguments: Any, at_once: bool = False) -> Any:
        """Call here what is short, in a thread what would hold up the event loop."""
        if at_once or size <= _AT_ONCE_BYTES:
            return call(*arguments)
        try:
            working = asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        except RuntimeError:  # its threads have ended
            raise ending() from None
        return await working

    async def _answer(self, future: Future[Any], left_s: float, allowed_s: float) -> Any:
        """Wait for a batcher's future; where nobody waits any more, it is cancelled.

        Args:
            future: of a batcher.
            left_s: how long to wait.
            allowed_s: what the error says that the request had in all.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(left_s, _settle, done)
        future.add_done_callback(lambda _: self._settle_soon(loop, done))
        try:
            await done
        finally:
            timer.cancel()
            future.cancel()
        if not future.done() or future.cancelled():
            raise _late(allowed_s)
        return future.result()

    def _settle_soon(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        """Settle in the loop's thread; called by a worker's. The answers of one batch wake the loop once."""
        with self._lock:
            self._settled.append(done)
            if len(self._settled) > 1:
                return
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(self._settle_all)

    def _settle_all(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, []
        for done in settled:
            _settle(done)


def _late(allowed_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {allowed_s:g} s", "allow more time, or send fewer requests at once")


def _why_no_images(classifier: Classifier | Pool[Classifier]) -> str:
    """Return why a model does not classify images, in words for who asked it to; empty where it does."""
    spec, shape = classifier.artifact.spec, classifier.outputs[0].shape
    use = "send prepared tensors to /v2/models/NAME/infer"
    try:
        check_image_input(classifier.artifact, classifier.inputs)
    except BadInput:
        return f"this model takes no images: its file does not say how they become its input ({use})"
    classes = [size for size in shape[1:] if isinstance(size, int)]
    if spec.labels and len(classes) == len(shape) - 1 and math.prod(classes) != len(spec.labels):
        return (
            f"this model cannot name classes: its file has {len(spec.labels)} labels for {math.prod(classes)} ({use})"
        )
    return ""


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def warm_up(classifier: Classifier | Pool[Classifier], *, max_batch: int, workers: int) -> None:
    """Run zeros in batches of all sizes, the largest and the smallest first, for two seconds or a little longer.

    Engines plan and take memory per input shape and thread; what a server will need it takes before it says that it is ready.
    A model with free dimensions besides the batch is left cold.

    Raises:
        InferenceError: the engine cannot run this model.
    """
    end_s = time.monotonic() + _WARM_S
    free = isinstance(batch_of(classifier.inputs, classifier.outputs), str)
    inputs = sized_inputs(classifier.inputs, classifier.artifact.spec.preprocess)
    with ThreadPoolExecutor(workers) as threads:
        for size in (max_batch, *range(1, max_batch)) if free else (1,):
            try:
                feeds = zero_feeds(inputs, batch=size)
            except BadInput:
                return
            runs = [threads.submit(classifier.run, feeds) for _ in range(2 * workers)]
            for run in runs:
                run.result()
            if time.monotonic() > end_s:
                return


def model_name(path: Path) -> str:
    """Return the name under which a file is served: without .onnx, and "_" for all but letters, digits, ".", "_" and "-"."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.name.removesuffix(".onnx")).strip(".") or "model"
