"""The roofline: how fast a processor could run a layer at best, from its peak, its bandwidth and what the layer asks for.

Source: Williams, Waterman and Patterson 2009, "Roofline: An Insightful Visual Performance Model for Multicore Architectures"
(Communications of the ACM 52(4)): attainable = min(peak, bandwidth * operational intensity). Operations are additions and
multiplications, two of a multiply-add. Bytes are the least that must be moved: weights, inputs and outputs once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OPS_PER_MAC = 2
"""A multiply-add is a multiplication and an addition."""

Bound = Literal["compute", "memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """One processor's limits for one type of number.

    Attributes:
        peak_gops: 10^9 operations per second; for floating point GFLOP/s.
        bandwidth_gbps: 10^9 bytes per second.
    """

    peak_gops: float
    bandwidth_gbps: float

    @property
    def ridge(self) -> float:
        """Operations per byte from which on the peak is the limit."""
        return self.peak_gops / self.bandwidth_gbps

    def attainable_gops(self, intensity: float) -> float:
        """Return the limit at an intensity, 10^9 operations per second.

        Args:
            intensity: operations per byte.
        """
        return min(self.peak_gops, intensity * self.bandwidth_gbps)

    def least_ns(self, *, macs: int, size_bytes: int) -> float:
        """Return the time that work takes at least; it is the roofline, and also holds for work without operations.

        Args:
            macs: multiply-adds.
            size_bytes: that are moved.
        """
        # 10^9 a second is one a nanosecond.
        return max(OPS_PER_MAC * macs / self.peak_gops, size_bytes / self.bandwidth_gbps)

    def share(self, *, macs: int, size_bytes: int, time_ns: float) -> float | None:
        """Return the least time over the time that it took; above 1 where the roof was measured too low, None for no time."""
        return self.least_ns(macs=macs, size_bytes=size_bytes) / time_ns if time_ns > 0 else None

    def bound(self, *, macs: int, size_bytes: int) -> Bound:
        """Return which of the two limits the work."""
        return "compute" if OPS_PER_MAC * macs / self.peak_gops >= size_bytes / self.bandwidth_gbps else "memory"


def intensity(macs: int, size_bytes: int) -> float | None:
    """Return operations per byte; None where nothing is moved."""
    return OPS_PER_MAC * macs / size_bytes if size_bytes > 0 else None


def rate_gops(macs: int, time_ns: float) -> float | None:
    """Return 10^9 operations per second; None for no time."""
    return OPS_PER_MAC * macs / time_ns if time_ns > 0 else None


def rate_gbps(size_bytes: int, time_ns: float) -> float | None:
    """Return 10^9 bytes per second; None for no time."""
    return size_bytes / time_ns if time_ns > 0 else None


def bandwidth_at(curve: Sequence[tuple[int, float]], size_bytes: int) -> tuple[int, float]:
    """Return (size, GB/s) of the smallest measured working set that holds this much; of the largest where none does.

    The bandwidth of a cache counts where all of a network's data stays in that cache from run to run (the cache-aware reading:
    Ilic, Pratas and Sousa 2014, "Cache-aware Roofline model: Upgrading the loft", IEEE Computer Architecture Letters 13).

    Args:
        curve: (size of the working set in bytes, GB/s), ascending, at least one.
        size_bytes: of what is worked on.
    """
    return next(((size, rate) for size, rate in curve if size >= size_bytes), curve[-1])
