"""An image as a request of one row, and a row of scores as its answer."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import numpy as np

from edgecnn.answers import Prediction, predictions
from edgecnn.errors import InferenceError
from edgecnn.imageinput import check_image_input
from edgecnn.images import to_pixels
from edgecnn.preprocess import Canvas, Image, frame, raw_pixels
from edgecnn.runtimes.base import Array
from edgecnn.specs import Artifact, TensorSpec

KEY = "images"
"""Key of requests that are images at the model's size; arithmetic on them waits for the whole batch."""


class ImagePath:
    """From images to the model's input, and from its scores to predictions. May be used from several threads.

    Args:
        artifact: the model file.
        inputs: of its graph.
        output: name of the scores.
        max_pixels: of an image that has to be decoded; None is `edgecnn.images.MAX_PIXELS`.

    Raises:
        BadInput: the file does not say how to prepare images, or its graph takes something else.
    """

    def __init__(
        self, artifact: Artifact, inputs: tuple[TensorSpec, ...], output: str, *, max_pixels: int | None = None
    ) -> None:
        self._spec = check_image_input(artifact, inputs)
        self._labels = artifact.spec.labels
        self._output = output
        self._max_pixels = max_pixels
        self._own = threading.local()

    def frame(self, image: object) -> Image:
        """Return uint8 [1, height, width, channels] as it waits, which later changes of the image do not reach.

        That is at the model's size, or at its own where the graph scales images.

        Raises:
            BadInput: what is no image.
        """
        pixels = to_pixels(image, max_pixels=self._max_pixels)
        framed = (raw_pixels if self._spec.resize_in_graph else frame)(pixels, self._spec)
        if framed.flags.writeable and np.may_share_memory(framed, pixels):
            framed = framed.copy()
        return framed[None]

    def key(self, framed: Image) -> Hashable:
        """Return what images have in common that can be one batch; where the graph scales them, they are its input already."""
        return (KEY, framed.shape) if self._spec.resize_in_graph else KEY

    def prepare(self, frames: list[Image]) -> Array:
        """Return the model's input for images at its size, in memory that this thread's next call writes to."""
        canvas: Canvas | None = getattr(self._own, "canvas", None)
        if canvas is None:
            canvas = self._own.canvas = Canvas(self._spec)
        return canvas.prepare(frames)

    def predictions(self, outputs: dict[str, Array], top: int) -> list[Prediction]:
        """Return the most probable classes of one image.

        Raises:
            BadInput: the file has another number of labels than classes.
            InferenceError: what came out are not the scores of one image.
        """
        scores = outputs[self._output]
        if scores.ndim < 2 or len(scores) != 1:
            shape = list(scores.shape)
            raise InferenceError(f"output {self._output}: expected scores of one image, got shape {shape}")
        return predictions(scores.reshape(-1), self._labels, top, output=self._output)
