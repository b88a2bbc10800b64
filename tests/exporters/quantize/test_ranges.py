from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.exporters.quantize.calibrate import count_into
from edgecnn.exporters.quantize.ranges import BINS, Histogram, Parameters, Range, choose_range, parameters

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def there_and_back(values: NDArray[np.float64], chosen: Parameters) -> NDArray[np.float64]:
    scale, zero_point = float(chosen.scale), int(chosen.zero_point)
    return (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point) * scale


def histogram(values: NDArray[np.float64]) -> Histogram:
    made = Histogram(Range.around(values.min(), values.max()), np.zeros(BINS, np.int64))
    count_into(made, values)
    return made


@given(finite, finite, st.floats(0, 1))
def test_values_in_range_come_back_within_half_a_step(one: float, other: float, share: float) -> None:
    chosen = Range.around(min(one, other), max(one, other))
    found = parameters(chosen)
    value = np.array([chosen.low + share * (chosen.high - chosen.low)])
    # The zero point is rounded too, which moves either end of the range by up to half a step.
    assert abs(there_and_back(value, found) - value)[0] <= 1.01 * float(found.scale)
    assert there_and_back(np.zeros(1), found)[0] == 0
    assert found.scale > 0


def test_a_range_from_zero_has_zero_point_zero() -> None:
    found = parameters(Range.around(0.0, 51.0))
    assert (found.scale, found.zero_point) == (np.float32(0.2), 0)
    assert there_and_back(np.array([-3.0, 51.0, 99.0]), found) == pytest.approx([0, 51, 51])


def test_a_range_to_zero_and_an_empty_one() -> None:
    assert parameters(Range.around(-51.0, 0.0)).zero_point == 255
    nothing = parameters(Range.around(0.0, 0.0))
    assert nothing.scale > 0
    assert nothing.zero_point == 0


def test_zero_lies_in_every_range() -> None:
    assert Range.around(2.0, 3.0) == Range(0.0, 3.0)
    assert Range.around(-3.0, -2.0) == Range(-3.0, 0.0)


def test_percentile_cuts_rare_values_off() -> None:
    values = np.concatenate((np.linspace(0, 1, 99_990), np.full(10, 100.0)))
    assert choose_range(histogram(values), "minmax").high == 100
    assert choose_range(histogram(values), "percentile", 99.9).high == pytest.approx(1, abs=0.1)
    both = np.concatenate((values, -values))
    cut = choose_range(histogram(both), "percentile", 99.9)
    assert cut.high == pytest.approx(1, abs=0.2)
    assert cut.low == pytest.approx(-1, abs=0.2)
    assert choose_range(histogram(both), "percentile", 100).low == -100


@pytest.mark.parametrize("signed", [False, True])
def test_least_error_is_less_than_that_of_the_whole_range(signed: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_t(4, 200_000)
    values = values if signed else np.abs(values)
    counted = histogram(values)

    def error(chosen: Range) -> float:
        return float(np.mean((values - there_and_back(values, parameters(chosen))) ** 2))

    whole = choose_range(counted, "minmax")
    every = [Range(whole.low * share, whole.high * share) for share in np.linspace(0.2, 1, 41)]
    found = error(choose_range(counted, "mse"))
    assert found < 0.85 * error(whole)
    assert found < 1.02 * min(map(error, every))


def test_least_error_keeps_what_has_no_outliers() -> None:
    values = np.linspace(0, 6, 100_000)
    assert choose_range(histogram(values), "mse").high == pytest.approx(6, rel=0.02)


def test_counts_are_of_every_value_once() -> None:
    values = np.random.default_rng(1).uniform(-2, 5, 10_000)
    made = histogram(values)
    assert made.counts.sum() == 10_000
    expected, _ = np.histogram(values, bins=BINS, range=(made.range.low, made.range.high))
    assert np.abs(made.counts - expected).max() <= 2
    assert np.dot(made.counts, made.centres) / 10_000 == pytest.approx(values.mean(), abs=0.01)


@pytest.mark.parametrize("value", [0.0, 1e-30])
@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_a_tensor_of_nothing_keeps_its_range(method: str, value: float) -> None:
    values = np.full(100, value)
    assert choose_range(histogram(values), method) == Range(0.0, value)  # type: ignore[arg-type]
