from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecnn.exporters.quantize.histogram import BINS, Histogram

batches = st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20), min_size=1, max_size=6)


def counted(*parts: NDArray[np.float64]) -> Histogram:
    made = Histogram()
    for part in parts:
        made.add(part, float(np.abs(part).max()))
    return made


@given(batches)
def test_every_value_is_counted_in_the_bin_that_holds_it(parts: list[list[float]]) -> None:
    arrays = [np.array(part) for part in parts]
    values = np.concatenate(arrays)
    made = counted(*arrays)
    if not made.width:
        assert np.abs(values).max() < 1e-8
        return
    wide = [part for part in arrays if np.abs(part).max() >= 1e-8]
    assert made.counts.sum() == sum(map(len, wide))
    counts, edges = made.between(values.min(), values.max())
    assert counts.sum() == made.counts.sum()
    assert len(edges) == len(counts) + 1
    # Below an edge lie as many values as counted there, but for those that rounding puts on its other side.
    middle = len(edges) // 2
    slack = 1e-3 * made.width
    kept = np.concatenate(wide)
    assert (kept < edges[middle] - slack).sum() <= counts[:middle].sum() <= (kept < edges[middle] + slack).sum()


def test_bins_widen_by_merging_and_stay_fine_enough() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal(500) * 3**power for power in range(8)]
    grown = counted(*parts)
    extent = max(float(np.abs(part).max()) for part in parts)
    assert BINS <= extent / grown.width <= 2 * BINS
    # The same values counted at that width from the start: no count was split or lost on the way.
    again = Histogram()
    again.width = grown.width
    for part in parts:
        again.add(part, float(np.abs(part).max()))
    difference = np.abs(np.cumsum(again.counts - grown.counts))
    assert difference.max() <= 2  # values that lie on an edge but for rounding


def test_magnitudes_fold_both_sides() -> None:
    made = counted(np.array([-8.0, -0.001, 0.001, 8.0]))
    magnitudes = made.magnitudes()
    assert magnitudes.sum() == 4
    assert magnitudes[0] == 2
    assert magnitudes[BINS // 2 - 1 : BINS // 2 + 1].sum() == 2


def test_nothing_but_zeros_is_not_counted() -> None:
    made = counted(np.zeros(5))
    assert (made.width, made.counts.sum()) == (0.0, 0)
    assert made.magnitudes().sum() == 0
    assert made.between(0.0, 0.0)[0].size == 0
    made.add(np.array([1.0]), 1.0)
    assert made.counts.sum() == 1


@pytest.mark.parametrize("extent", [1e-7, 1.0, 1e30])
def test_any_extent(extent: float) -> None:
    made = counted(np.array([-extent, extent / 2]))
    counts, edges = made.between(-extent, extent / 2)
    assert counts.sum() == 2
    assert edges[0] == pytest.approx(-extent)
    assert edges[-1] == pytest.approx(extent / 2, rel=1e-3)
