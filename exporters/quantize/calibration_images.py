"""The images that activations are observed on: chosen, checked, prepared batch by batch, and told apart by their content."""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from edgecnn.artifacts import file_sha256
from edgecnn.data.dataset import Image, Split
from edgecnn.errors import BadInput
from edgecnn.exporters.accuracy import input_batches
from edgecnn.preprocess import check_image
from edgecnn.runtimes.base import Array
from edgecnn.specs import Preprocess, TensorSpec

Images = Split | Iterable[Array]
"""What calibration takes: a part of a data set, or anything that gives images. These are uint8 [H, W, C] of any size, which go
through the model's preprocessing, or float32 [C, H, W] in the model's own shape, which were prepared already."""


FEW_IMAGES = 32
"""Fewer calibration images than this are worth a word."""

_LOOKED_AT = 8


@contextmanager
def as_split(images: Images, limit: int | None = None) -> Iterator[Split]:
    """Yield calibration images as a split while the block runs; what can be read once only waits in a temporary file.

    Args:
        images: a split, a sequence, or any other iterable, of which no more than `limit` images are taken.
        limit: None takes all.

    Raises:
        BadInput: there is none, or something is not an image.
    """
    if isinstance(images, Split):
        yield _not_empty(images)
    elif isinstance(images, (np.ndarray, Sequence)):
        yield _not_empty(_unlabelled(images))
    else:
        with tempfile.TemporaryFile() as file:
            yield _not_empty(_unlabelled(_Spooled(file, itertools.islice(images, limit))))


def spread(split: Split, count: int | None) -> Split:
    """Return at most that many images, evenly spread over the split, which may be sorted by class."""
    if count is None or count >= len(split):
        return split
    index = np.linspace(0, len(split) - 1, count).round().astype(np.intp)
    chosen = split.images[index] if isinstance(split.images, np.ndarray) else _Chosen(split.images, index)
    files = tuple(split.files[i] for i in index) if split.files else ()
    return Split(split.name, chosen, split.labels[index], split.trained, files)


def prepared_batches(
    source: TensorSpec, preprocess: Preprocess, split: Split, size: int
) -> Iterator[tuple[Array, int]]:
    """Yield model inputs and how many of them are images of their own, in order.

    Args:
        source: the model's input; where its batch is fixed, the last input is filled up.
        preprocess: how a uint8 image becomes that input; float32 images are taken as they are.
        split: the images.
        size: images at a time, where the model leaves it open.

    Raises:
        BadInput: an image that is neither, or a prepared one of another shape or with values that are not finite.
    """
    if not _is_prepared(split.images[0]):
        for feed, labels in input_batches(source, preprocess, split, size):
            yield feed, len(labels)
        return
    fixed = source.shape[0]
    for images, labels in split.batches(fixed if isinstance(fixed, int) else size):
        for index, image in enumerate(images):
            _check_prepared(image, source, f"calibration image {index} of a batch")
        missing = fixed - len(images) if isinstance(fixed, int) else 0
        yield np.stack(images + images[-1:] * missing), len(labels)


def refuse_one_colour(split: Split) -> None:
    """Raise BadInput if every image has one colour throughout; the first that has more ends the search.

    The pixels are looked at as they are: normalisation by channel and a border make something of the emptiest image.
    """
    if not all(_is_one_colour(split.images[index]) for index in range(len(split))):
        return
    raise BadInput(
        f"all {len(split)} calibration images are of one colour throughout, which tells nothing about ranges",
        "give --calibration NAME|FOLDER with images like the real ones",
    )


def doubts(split: Split, preprocess: Preprocess) -> list[str]:
    """Return lines for the user about images that ranges are better not taken from: few of them, or gray ones for colour."""
    found = []
    if len(split) < FEW_IMAGES:
        found.append(
            f"{len(split)} calibration image{'s' * (len(split) > 1)}: ranges may be too narrow for others; give a hundred "
            "or more"
        )
    some = spread(split, _LOOKED_AT)
    if preprocess.channels == 3 and all(_is_gray(some.images[index]) for index in range(len(some))):
        found.append("the calibration images are gray, and the model reads colour: give images like the real ones")
    return found


def digest(split: Split) -> str:
    """Return a SHA-256 of the images' content and order, hexadecimal; of their files where they have some."""
    total = hashlib.sha256()
    for path in split.files:
        total.update(bytes.fromhex(file_sha256(path)))
    if not split.files:
        for index in range(len(split)):
            image = np.ascontiguousarray(split.images[index])
            total.update(f"{image.dtype}{image.shape}".encode())
            total.update(image.data)
    return total.hexdigest()


def _not_empty(split: Split) -> Split:
    if len(split) == 0:
        raise BadInput("calibration images", "give --calibration NAME|FOLDER", expected="at least one", got="none")
    return split


def _unlabelled(images: NDArray[Any] | Sequence[Array]) -> Split:
    return Split("calibration", images, np.full(len(images), -1, np.int64), trained=True)


def _is_prepared(image: Any) -> bool:
    return isinstance(image, np.ndarray) and image.dtype == np.float32


def _is_one_colour(image: Array) -> bool:
    pixels = image.reshape(len(image), -1).T if _is_prepared(image) else image.reshape(-1, image.shape[-1])
    return bool((pixels == pixels[:1]).all())


def _is_gray(image: Array) -> bool:
    if _is_prepared(image):
        return False  # each channel was normalised by its own mean
    return image.shape[-1] == 1 or bool((image[..., :3] == image[..., :1]).all())


def _check_prepared(image: Any, source: TensorSpec, what: str) -> None:
    wanted = source.shape[1:]
    good = _is_prepared(image) and image.ndim == len(wanted)
    good = good and all(isinstance(side, str) or side == got for side, got in zip(wanted, image.shape, strict=True))
    if not good or source.dtype != "float32":
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise BadInput(what, expected=f"{source.dtype} {list(wanted)}, as the model's input", got=got)
    if not np.isfinite(image).all():
        raise BadInput(what, expected="finite values", got="some that are not")


@dataclass(frozen=True, slots=True)
class _Chosen(Sequence[Image]):
    """Some images of a sequence, fetched when they are asked for."""

    images: Sequence[Image]
    chosen: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, item: int) -> Image: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Image]: ...
    def __getitem__(self, item: int | slice) -> Image | Sequence[Image]:
        if isinstance(item, slice):
            return _Chosen(self.images, self.chosen[item])
        return self.images[int(self.chosen[item])]


class _Spooled(Sequence[Array]):
    """Images that came once, kept in a file one after the other.

    Args:
        file: empty, open for reading and writing.
        images: what to keep; consumed at once.
    """

    def __init__(self, file: IO[bytes], images: Iterable[Any]) -> None:
        self._file = file
        self._starts: list[int] = []
        for image in images:
            if not _is_prepared(image):
                check_image(image)
            self._starts.append(file.tell())
            np.save(file, image, allow_pickle=False)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, item: int) -> Array: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Array]: ...
    def __getitem__(self, item: int | slice) -> Array | Sequence[Array]:
        if isinstance(item, slice):
            return _Chosen(self, np.arange(len(self))[item])
        self._file.seek(self._starts[item])
        image: Array = np.load(self._file, allow_pickle=False)
        return image
