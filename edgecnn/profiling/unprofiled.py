"""From times while profiling to times without it: a profiler takes time itself.

ONNX Runtime reads the clock at the end of a node after it has written down the node's shapes and sizes (KernelScope in
onnxruntime/core/framework/sequential_executor.cc): the same microsecond or few for every node, which would make a Reshape
look like work. Where its nodes together took longer than a whole run without profiling, the same time is taken off each, no
more than the cheapest of them leaves room for. What then remains, and all that remains for other engines, is made up for by
one factor, so that the sum is that of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SHARE = 0.1
"""Of the cheapest node's measured time so much is left at least: nothing is free."""


def unprofiled(measured_ns: Sequence[float], total_ns: float, *, constant: bool) -> list[float]:
    """Return the time of each node without profiling; their sum is `total_ns`.

    Args:
        measured_ns: of each node, while profiling, at least one.
        total_ns: of all of them together, without profiling.
        constant: profiling adds the same time to each.
    """
    excess = sum(measured_ns) - total_ns
    off = max(0.0, min(excess / len(measured_ns), (1 - LEAST_SHARE) * min(measured_ns))) if constant else 0.0
    left = [one - off for one in measured_ns]
    whole = sum(left)
    return [one * total_ns / whole if whole > 0 else total_ns / len(left) for one in left]
