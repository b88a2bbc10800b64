from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.exporters.quantize.ranges import Parameters, Range, parameters

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def there_and_back(values: NDArray[np.float64], chosen: Parameters) -> NDArray[np.float64]:
    scale, zero_point = float(chosen.scale), int(chosen.zero_point)
    return (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point) * scale


@given(finite, finite, st.floats(0, 1))
def test_values_in_range_come_back_within_half_a_step(one: float, other: float, share: float) -> None:
    chosen = Range.around(min(one, other), max(one, other))
    found = parameters(chosen)
    value = np.array([chosen.low + share * (chosen.high - chosen.low)])
    # The zero point is rounded too, which moves either end of the range by up to half a step.
    assert abs(there_and_back(value, found) - value)[0] <= 1.01 * float(found.scale)
    assert there_and_back(np.zeros(1), found)[0] == 0
    assert found.scale > 0


@given(finite)
def test_a_point_comes_back_exactly(point: float) -> None:
    found = there_and_back(np.array([point]), parameters(Range.around(point, point)))[0]
    assert found == pytest.approx(point, rel=1e-6, abs=1e-8)


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
