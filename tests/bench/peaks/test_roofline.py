"""The roofline's closed forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.bench.peaks.roofline import Roof, bandwidth_at, intensity, rate_gbps, rate_gops

positive = st.floats(0.01, 1e6)


def test_the_example_of_the_paper() -> None:
    """Opteron X2 of Williams et al. 2009: 17.6 GFLOP/s, 15 GB/s; its ridge is a little above 1 operation per byte."""
    roof = Roof(peak_gops=17.6, bandwidth_gbps=15.0)
    assert roof.ridge == pytest.approx(17.6 / 15)
    assert roof.attainable_gops(0.5) == 7.5
    assert roof.attainable_gops(4) == 17.6


def test_a_layer_on_either_side_of_the_ridge() -> None:
    roof = Roof(peak_gops=100, bandwidth_gbps=10)
    assert roof.least_ns(macs=5000, size_bytes=100) == 100  # 10,000 operations at 100 a nanosecond
    assert roof.bound(macs=5000, size_bytes=100) == "compute"
    assert roof.least_ns(macs=50, size_bytes=1000) == 100
    assert roof.bound(macs=50, size_bytes=1000) == "memory"
    assert roof.share(macs=50, size_bytes=1000, time_ns=400) == 0.25
    assert roof.share(macs=50, size_bytes=1000, time_ns=0) is None


def test_work_without_operations_is_bound_by_memory() -> None:
    roof = Roof(peak_gops=100, bandwidth_gbps=10)
    assert roof.share(macs=0, size_bytes=1000, time_ns=200) == 0.5
    assert roof.bound(macs=0, size_bytes=1000) == "memory"


@given(positive, positive, st.integers(1, 10**9), st.integers(1, 10**9), positive)
def test_share_in_time_is_share_of_the_attainable_rate(
    peak: float, bandwidth: float, macs: int, size: int, time_ns: float
) -> None:
    roof = Roof(peak_gops=peak, bandwidth_gbps=bandwidth)
    at, rate = intensity(macs, size), rate_gops(macs, time_ns)
    assert at is not None
    assert rate is not None
    assert roof.share(macs=macs, size_bytes=size, time_ns=time_ns) == pytest.approx(rate / roof.attainable_gops(at))


def test_rates_of_no_time_and_no_bytes_are_unknown() -> None:
    assert rate_gops(1, 0) is None
    assert rate_gbps(1, 0) is None
    assert intensity(1, 0) is None


def test_the_bandwidth_is_that_of_the_smallest_set_that_holds_the_data() -> None:
    curve = [(1 << 18, 100.0), (1 << 20, 80.0), (1 << 27, 20.0)]
    assert bandwidth_at(curve, 1) == (1 << 18, 100.0)
    assert bandwidth_at(curve, 1 << 18) == (1 << 18, 100.0)
    assert bandwidth_at(curve, (1 << 18) + 1) == (1 << 20, 80.0)
    assert bandwidth_at(curve, 1 << 30) == (1 << 27, 20.0)
