from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.exporters.quantize.config import Method
from edgecnn.exporters.quantize.histogram import Histogram
from edgecnn.exporters.quantize.methods import Observation, choose_range
from edgecnn.exporters.quantize.ranges import Range, parameters


def seen(values: NDArray[np.float64], *, average: tuple[float, float] | None = None) -> Observation:
    low, high = float(values.min()), float(values.max())
    counts = Histogram()
    counts.add(values, max(-low, high))
    average_low, average_high = average or (low, high)
    return Observation(low=low, high=high, average_low=average_low, average_high=average_high, histogram=counts)


def error(values: NDArray[np.float64], chosen: Range) -> float:
    found = parameters(chosen)
    scale, zero_point = float(found.scale), int(found.zero_point)
    back = (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point) * scale
    return float(np.mean((values - back) ** 2))


@pytest.mark.parametrize("method", get_args(Method))
@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=50))
def test_no_method_leaves_what_was_seen(method: Method, values: list[float]) -> None:
    array = np.array(values)
    found, whole = choose_range(seen(array), method), Range.around(array.min(), array.max())
    assert found.lies_in(whole)
    assert found.low <= 0 <= found.high
    if array.min() == array.max():
        assert found == whole


def test_percentile_cuts_rare_values_off() -> None:
    values = np.concatenate((np.linspace(0, 1, 99_990), np.full(10, 100.0)))
    assert choose_range(seen(values), "minmax").high == 100
    assert choose_range(seen(values), "percentile", 99.9).high == pytest.approx(1, abs=0.1)
    both = seen(np.concatenate((values, -values)))
    cut = choose_range(both, "percentile", 99.9)
    assert cut.high == pytest.approx(1, abs=0.2)
    assert cut.low == pytest.approx(-1, abs=0.2)
    assert choose_range(both, "percentile", 100).low == -100


@pytest.mark.parametrize("signed", [False, True])
def test_least_error_is_less_than_that_of_the_whole_range(signed: bool) -> None:
    values = np.random.default_rng(0).standard_t(4, 200_000)
    values = values if signed else np.abs(values)
    whole = choose_range(seen(values), "minmax")
    every = [Range(whole.low * share, whole.high * share) for share in np.linspace(0.2, 1, 41)]
    found = error(values, choose_range(seen(values), "mse"))
    assert found < 0.85 * error(values, whole)
    assert found < 1.02 * min(error(values, one) for one in every)


@pytest.mark.parametrize("signed", [False, True])
def test_entropy_cuts_a_long_tail_and_leaves_an_even_spread(signed: bool) -> None:
    rng = np.random.default_rng(0)
    laplace = rng.laplace(size=300_000)
    laplace = laplace if signed else np.abs(laplace)
    tailed = choose_range(seen(np.append(laplace, 60.0)), "entropy")
    assert 4 < tailed.high < 30
    assert (tailed.low < -4) == signed
    even = rng.uniform(-1 if signed else 0, 1, 300_000)
    assert choose_range(seen(even), "entropy").high > 0.97


def test_entropy_is_not_led_by_the_zeros_of_relu() -> None:
    values = np.abs(np.random.default_rng(0).standard_normal(100_000))
    many = np.concatenate((values, np.zeros(2_000_000)))
    alone, among = choose_range(seen(values), "entropy"), choose_range(seen(many), "entropy")
    assert among.high == pytest.approx(alone.high, rel=0.05)
    assert among.high > 3


def test_entropy_takes_the_threshold_of_least_divergence() -> None:
    """A plain reading of the slides, bin by bin, agrees."""
    from edgecnn.exporters.quantize.methods import _divergence

    counts = np.random.default_rng(1).integers(0, 50, 512).astype(np.float64)
    stop = 300
    reference = counts[:stop].copy()
    reference[-1] += counts[stop:].sum()
    quantized = np.zeros(stop)
    for level in range(128):
        bins = [index for index in range(stop) if index * 128 // stop == level]
        filled = [index for index in bins if counts[index] > 0]
        for index in filled:
            quantized[index] = counts[bins].sum() / len(filled)
    p, q = reference / reference.sum(), quantized / quantized.sum()
    expected = sum(p[i] * np.log(p[i] / q[i]) for i in range(stop) if p[i] > 0 and q[i] > 0)
    assert _divergence(counts, stop) == pytest.approx(expected, rel=1e-9)


def test_the_moving_average_is_narrower_than_the_extremes() -> None:
    values = np.array([-4.0, 8.0])
    assert choose_range(seen(values, average=(-1.0, 3.0)), "moving-average") == Range(-1.0, 3.0)
    assert choose_range(seen(values, average=(0.5, 3.0)), "moving-average") == Range(0.0, 3.0)
