"""From whatever an app has for an image to what a model takes."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecnn.errors import BadInput
from edgecnn.images import MAX_PIXELS, is_pillow_image, to_pixels
from edgecnn.preprocess import Image
from edgecnn.specs import Artifact, Preprocess, TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    OneImage = Image | PillowImage | str | PathLike[str]


def is_one_image(images: object) -> bool:
    """Return whether this is one image and not several."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    return isinstance(images, (str, PathLike, bytes, bytearray, memoryview)) or is_pillow_image(images)


def pixels_of(images: Any, *, max_pixels: int | None = None) -> list[Image]:
    """Return the pixels of each of several images, see `edgecnn.images.to_pixels`; arrays are not looked at.

    Args:
        images: an iterable of them.
        max_pixels: of one that has to be decoded; None is `edgecnn.images.MAX_PIXELS`.

    Raises:
        BadInput: no images.
        MissingDependency: a path was given and Pillow is not installed.
    """
    try:
        given = iter(images)
    except TypeError:
        raise BadInput("images", expected="an image or a list of them", got=type(images).__name__) from None
    batch = [to_pixels(image, max_pixels=max_pixels) for image in given]
    if not batch:
        raise BadInput("images", expected="at least one", got="none")
    return batch


def check_image_input(artifact: Artifact, inputs: tuple[TensorSpec, ...]) -> Preprocess:
    """Return how images become the input of a graph that takes what comes out of that.

    Raises:
        BadInput: the file does not say it, or its graph takes something else.
    """
    spec = artifact.spec.preprocess
    if spec is None:
        raise BadInput(
            f"{artifact.path} does not say how images become its input",
            "edgecnn export FILE --mean R,G,B --std R,G,B -o NEW.onnx writes it in; or use run() with prepared arrays",
        )
    height, width = spec.size
    made = (height, width, spec.channels) if spec.in_graph else (spec.channels, height, width)
    shape = inputs[0].shape if len(inputs) == 1 else ()
    fits = (
        len(shape) == 4
        and shape[0] != 0
        and all(isinstance(d, str) or d == n for d, n in zip(shape[1:], made, strict=True))
        and (not spec.resize_in_graph or all(isinstance(d, str) for d in shape[1:3]))
    )
    if not fits or height * width > MAX_PIXELS:
        shown = "its pixels in any size" if spec.resize_in_graph else str(list(made))
        takes = " and ".join(str(list(one.shape)) for one in inputs) or "nothing"
        raise BadInput(
            f"{artifact.path}: preprocess makes {shown} of an image, the graph takes {takes}", "export it again"
        )
    return spec
