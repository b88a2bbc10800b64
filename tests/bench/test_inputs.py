from __future__ import annotations

import numpy as np
import pytest

from edgecnn.bench.inputs import check_fits, fitted_shape, make_feeds
from edgecnn.errors import BadInput
from edgecnn.specs import TensorSpec


def _spec(dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name="image", dtype=dtype, shape=shape)


def test_what_does_not_fit_into_memory_is_not_made() -> None:
    inputs = (_spec("float32", "N", 3, 10, 10), _spec("uint8", "N", 100))
    check_fits(inputs, batch=10, left_bytes=13_000)
    check_fits(inputs, batch=10**12, left_bytes=None)
    with pytest.raises(BadInput, match="got 11 images of 1 kB each, 14 kB") as caught:
        check_fits(inputs, batch=11, left_bytes=13_000)
    assert "--batch 10 fits at most" in caught.value.hint


def test_floats_are_standard_normal_with_the_batch_put_in() -> None:
    array = make_feeds((_spec("float32", "N", 3, 32, 32),), batch=4, seed=0)["image"]
    assert (array.dtype, array.shape) == (np.float32, (4, 3, 32, 32))
    assert abs(float(array.mean())) < 0.05
    assert float(array.std()) == pytest.approx(1, abs=0.05)
    assert np.abs(array[array != 0]).min() > np.finfo(np.float32).tiny


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint8", 0, 255),
        ("int8", -128, 127),
        ("int64", 0, 1),
        ("int32", 0, 1),
        ("bool", 0, 1),
        ("float16", -9, 9),
        ("float64", -9, 9),
    ],
)
def test_values_of_every_dtype_span_their_range(dtype: str, low: int, high: int) -> None:
    array = make_feeds((_spec(dtype, "N", 5000),), batch=2, seed=1)["image"]
    assert array.dtype == np.dtype(dtype)
    assert low <= array.min() < array.max() <= high
    if dtype in ("uint8", "int8"):
        assert (array.min(), array.max()) == (low, high)


def test_the_seed_decides_and_inputs_differ() -> None:
    inputs = (_spec("float32", "N", 8), TensorSpec(name="second", dtype="float32", shape=("N", 8)))
    one, same, other = (make_feeds(inputs, batch=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one["image"], same["image"])
    assert not np.array_equal(one["image"], other["image"])
    assert not np.array_equal(one["image"], one["second"])


def test_a_scalar_has_no_batch() -> None:
    assert fitted_shape(_spec("float32"), batch=4) == ()
    assert make_feeds((_spec("float32"),), batch=4, seed=0)["image"].shape == ()


def test_a_batch_that_is_built_in_is_accepted_and_another_one_refused() -> None:
    assert fitted_shape(_spec("float32", 8, 3), batch=8) == (8, 3)
    with pytest.raises(BadInput, match="input image has its batch built in: expected batch 8, got 4") as caught:
        fitted_shape(_spec("float32", 8, 3), batch=4)
    assert "--batch 8" in caught.value.hint


def test_another_symbolic_dimension_is_refused() -> None:
    with pytest.raises(BadInput, match=r"input image of shape \[N, 3, H, W\]"):
        fitted_shape(_spec("float32", "N", 3, "H", "W"), batch=1)


@pytest.mark.parametrize("dtype", ["string", "bfloat16", "complex64"])
def test_a_dtype_without_values_is_refused(dtype: str) -> None:
    with pytest.raises(BadInput, match=f"got {dtype}"):
        make_feeds((_spec(dtype, "N", 3),), batch=1, seed=0)
