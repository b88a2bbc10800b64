from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.exporters.decibels import amplitude_ratio, decibels, power_ratio


def test_powers_of_ten() -> None:
    assert (decibels(1000, 1), decibels(1, 100), decibels(7, 7)) == (30, -20, 0)
    assert (power_ratio(30), amplitude_ratio(-40)) == (1000, 0.01)


@pytest.mark.parametrize(
    ("signal", "noise"), [(0, 1), (1, 0), (0, 0), (math.inf, 1), (1, math.inf), (math.nan, 1), (1, math.nan), (-1, 1)]
)
def test_what_has_no_ratio(signal: float, noise: float) -> None:
    assert decibels(signal, noise) is None


@given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_there_and_back(signal: float, noise: float) -> None:
    level_db = decibels(signal, noise)
    assert level_db is not None
    assert power_ratio(level_db) == pytest.approx(signal / noise)
    assert amplitude_ratio(level_db) ** 2 == pytest.approx(signal / noise)
