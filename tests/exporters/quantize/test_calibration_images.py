from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecnn.data.dataset import Split
from edgecnn.errors import BadInput
from edgecnn.exporters.quantize.calibration_images import as_split, digest, doubts, prepared_batches, spread
from edgecnn.preprocess import prepare
from edgecnn.specs import Preprocess, TensorSpec

Array = NDArray[Any]
PREPROCESS = Preprocess(size=(8, 8), channels=1, fit="stretch", mean=(0.5,), std=(0.25,))
SOURCE = TensorSpec(name="x", dtype="float32", shape=("N", 1, 8, 8))


def pictures() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (6 + index, 9, 3)).astype(np.uint8) for index in range(7)]


def test_a_generator_is_read_once_and_no_further_than_needed() -> None:
    read = []

    def endless() -> Iterator[Array]:
        while True:
            read.append(1)
            yield from pictures()

    with as_split(endless(), 10) as split:
        assert len(split) == 10
        for _ in range(2):  # it can be gone through as often as needed
            for index, image in enumerate(split.images):
                assert np.array_equal(image, pictures()[index % 7])
        assert split.trained
        assert [len(images) for images, _ in split.batches(4)] == [4, 4, 2]
        assert np.array_equal(spread(split, 3).images[-1], pictures()[2])
    assert len(read) == 2


def test_a_list_and_an_array_are_taken_as_they_are() -> None:
    given = pictures()
    with as_split(given) as split:
        assert split.images is given
        assert split.labels.tolist() == [-1] * 7
    with as_split(np.zeros((3, 8, 8, 1), np.uint8)) as split:
        assert len(split) == 3


@pytest.mark.parametrize("nothing", [[], iter([]), np.zeros((0, 8, 8, 1), np.uint8)])
def test_an_empty_set(nothing: Any) -> None:
    with pytest.raises(BadInput, match="calibration images: expected at least one, got none"), as_split(nothing):
        pass
    empty = Split("calibration", np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), trained=True)
    with pytest.raises(BadInput, match="at least one"), as_split(empty):
        pass


@pytest.mark.parametrize(
    "wrong", ["text", np.zeros((8, 8)), np.zeros((8, 8, 2), np.uint8), np.zeros((0, 8, 1), np.uint8), None]
)
def test_what_is_no_image(wrong: Any) -> None:
    with (
        pytest.raises(BadInput, match="image: expected uint8"),
        as_split(iter([wrong])) as split,
    ):
        list(prepared_batches(SOURCE, PREPROCESS, split, 4))


def test_images_of_any_size_become_inputs() -> None:
    with as_split(pictures()) as split:
        (feed, count), (rest, fewer) = prepared_batches(SOURCE, PREPROCESS, split, 4)
    assert (count, fewer) == (4, 3)
    assert np.array_equal(np.concatenate((feed, rest)), prepare(pictures(), PREPROCESS))


def test_prepared_inputs_are_taken_as_they_are() -> None:
    inputs = prepare(pictures(), PREPROCESS)
    assert isinstance(inputs, np.ndarray)
    with as_split(iter(inputs)) as split:
        batches = list(prepared_batches(SOURCE, PREPROCESS, split, 4))
        assert np.array_equal(np.concatenate([feed for feed, _ in batches]), inputs)
        fixed = TensorSpec(name="x", dtype="float32", shape=(5, 1, 8, 8))
        assert [(feed.shape[0], count) for feed, count in prepared_batches(fixed, PREPROCESS, split, 4)] == [
            (5, 5),
            (5, 2),
        ]


@pytest.mark.parametrize(
    ("shape", "got"),
    [((1, 9, 8), r"float32 \[1, 9, 8\]"), ((3, 8, 8), r"float32 \[3, 8, 8\]"), ((8, 8), r"float32 \[8, 8\]")],
)
def test_prepared_inputs_of_another_shape(shape: tuple[int, ...], got: str) -> None:
    images = [np.zeros((1, 8, 8), np.float32), np.zeros(shape, np.float32)]
    with (
        pytest.raises(BadInput, match=r"float32 \[1, 8, 8\], as the model's input, got " + got),
        as_split(images) as split,
    ):
        list(prepared_batches(SOURCE, PREPROCESS, split, 4))


def test_prepared_inputs_that_are_not_finite() -> None:
    broken = np.zeros((2, 1, 8, 8), np.float32)
    broken[1, 0, 3, 3] = np.inf
    with pytest.raises(BadInput, match="expected finite values"), as_split(broken) as split:
        list(prepared_batches(SOURCE, PREPROCESS, split, 4))


def test_the_digest_is_that_of_content_and_order(tmp_path: Path) -> None:
    def of(images: Any) -> str:
        with as_split(images) as split:
            return digest(split)

    images = pictures()
    assert of(images) == of(iter(images))
    assert of(images) != of(images[::-1])
    assert of(np.zeros((2, 4, 2, 1), np.uint8)) != of(np.zeros((2, 2, 4, 1), np.uint8))
    files = tuple(tmp_path / f"{index}.pgm" for index in range(2))
    for path in files:
        path.write_bytes(b"P5\n1 1\n255\n" + path.name[:1].encode())
    lazy = Split("calibration", [], np.zeros(2, np.int64), trained=True, files=files)
    before = digest(lazy)
    files[1].write_bytes(b"P5\n1 1\n255\nx")
    assert digest(lazy) != before


def test_chosen_images_keep_their_files() -> None:
    files = tuple(Path(f"{index}.jpg") for index in range(10))
    split = Split("train", [np.zeros((1, 1), np.uint8)] * 10, np.arange(10), trained=True, files=files)
    assert [path.name for path in spread(split, 3).files] == ["0.jpg", "4.jpg", "9.jpg"]


@pytest.mark.parametrize(
    ("images", "channels", "said"),
    [
        (np.zeros((40, 4, 4, 1), np.uint8), 1, []),
        (np.zeros((40, 4, 4, 1), np.uint8), 3, ["gray"]),
        (np.zeros((5, 4, 4, 3), np.uint8), 3, ["5 calibration images", "gray"]),
        (np.arange(40 * 48, dtype=np.uint8).reshape(40, 4, 4, 3), 3, []),
        (np.zeros((31, 3, 4, 4), np.float32), 3, ["31 calibration images"]),
    ],
)
def test_few_images_and_gray_ones_for_colour_are_worth_a_word(images: Any, channels: int, said: list[str]) -> None:
    preprocess = Preprocess(
        size=(4, 4), channels=channels, fit="stretch", mean=(0.5,) * channels, std=(0.5,) * channels
    )
    with as_split(images) as split:
        found = doubts(split, preprocess)
    assert len(found) == len(said)
    assert all(text in line for text, line in zip(said, found, strict=True))
