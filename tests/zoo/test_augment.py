from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.zoo.augment import augment

Frames = NDArray[np.uint8]

shapes = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
seeds = st.integers(0, 2**32 - 1)
quick = settings(deadline=None)


def _frames(shape: tuple[int, int, int, int], seed: int = 0) -> Frames:
    # No pixel is 0, so that black tells the border.
    return np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8)


def _shifted(image: Frames, down: int, right: int, padding: int) -> Frames:
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    return padded[padding + down : padding + down + height, padding + right : padding + right + width]


@quick
@given(shape=shapes, seed=seeds, flip=st.booleans(), padding=st.integers(0, 4))
def test_shape_and_dtype_stay_and_the_input_is_untouched(
    shape: tuple[int, int, int, int], seed: int, flip: bool, padding: int
) -> None:
    frames = _frames(shape)
    before = frames.copy()
    out = augment(frames, np.random.default_rng(seed), flip=flip, crop_padding=padding)
    assert (out.shape, out.dtype) == (shape, np.uint8)
    assert np.array_equal(frames, before)


@quick
@given(shape=shapes, seed=seeds)
def test_without_flip_and_crop_nothing_changes(shape: tuple[int, int, int, int], seed: int) -> None:
    frames = _frames(shape)
    assert np.array_equal(augment(frames, np.random.default_rng(seed), flip=False, crop_padding=0), frames)


@quick
@given(shape=shapes, seed=seeds)
def test_a_flip_mirrors_left_to_right_or_does_nothing(shape: tuple[int, int, int, int], seed: int) -> None:
    frames = _frames(shape)
    for image, out in zip(frames, augment(frames, np.random.default_rng(seed), flip=True, crop_padding=0), strict=True):
        assert np.array_equal(out, image) or np.array_equal(out, image[:, ::-1])


@quick
@given(shape=shapes, seed=seeds, padding=st.integers(1, 3))
def test_a_crop_shifts_by_no_more_than_the_padding(shape: tuple[int, int, int, int], seed: int, padding: int) -> None:
    frames = _frames(shape)
    steps = range(-padding, padding + 1)
    out = augment(frames, np.random.default_rng(seed), flip=False, crop_padding=padding)
    for image, moved in zip(frames, out, strict=True):
        assert any(np.array_equal(moved, _shifted(image, down, right, padding)) for down in steps for right in steps)


@quick
@given(shape=shapes, seed=seeds, padding=st.integers(0, 3))
def test_the_generator_decides(shape: tuple[int, int, int, int], seed: int, padding: int) -> None:
    frames = _frames(shape)
    one, two = (augment(frames, np.random.default_rng(seed), flip=True, crop_padding=padding) for _ in range(2))
    assert np.array_equal(one, two)


def test_half_of_the_images_are_mirrored_each_on_its_own() -> None:
    frames = np.tile(np.array([[1, 2]], np.uint8)[..., None], (10_000, 1, 1, 1))
    out = augment(frames, np.random.default_rng(0), flip=True, crop_padding=0)
    # Five standard deviations of a binomial with n = 10,000 and p = 1/2 are 250.
    assert abs(int((out[:, 0, 0, 0] == 2).sum()) - 5000) < 250


def test_every_shift_is_as_likely_as_any_other() -> None:
    frames = np.zeros((25_000, 5, 5, 1), np.uint8)
    frames[:, 2, 2] = 1
    out = augment(frames, np.random.default_rng(0), flip=False, crop_padding=2)
    # 1,000 of each of the 25 places expected; five standard deviations are 155.
    assert np.abs(out.sum(axis=(0, 3), dtype=np.int64) - 1000).max() < 155


def test_images_of_a_batch_are_shifted_apart() -> None:
    frames = np.repeat(_frames((1, 8, 8, 1)), 50, axis=0)
    out = augment(frames, np.random.default_rng(0), flip=False, crop_padding=2)
    assert len({image.tobytes() for image in out}) > 15
