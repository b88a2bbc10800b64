"""From times while profiling to times without it: a profiler takes time itself.

ONNX Runtime starts a node's clock before it writes down types and shapes of the node's inputs, and reads it after it has
written those of the outputs and all else that the event says, which are arguments of the call that reads the clock:
KernelScope in onnxruntime/core/framework/sequential_executor.cc, EndTimeAndRecordEvent in onnxruntime/core/common/profiler.cc.
That is a microsecond or few for every node, a little more for one with many inputs, and would make a Reshape look like work.
How much it is on this machine is told by nodes that do nothing; it is taken off each node. What then remains, and all that
remains for other engines, is made up for by one factor, so that the sum is that of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

LEAST_SHARE = 0.1
"""Of a node's measured time so much is left at least: nothing is free."""


def unprofiled(measured_ns: Sequence[float], total_ns: float, *, cost_ns: float) -> list[float]:
    """Return the time of each node without profiling; their sum is `total_ns`.

    Args:
        measured_ns: of each node, while profiling, at least one.
        total_ns: of all of them together, without profiling.
        cost_ns: that profiling adds to each, 0 or more.
    """
    left = [max(one - cost_ns, LEAST_SHARE * one) for one in measured_ns]
    whole = sum(left)
    return [one * total_ns / whole if whole > 0 else total_ns / len(left) for one in left]
