"""Whether an int8 file is worth having on this machine: its time beside that of the fp32 file."""

from __future__ import annotations

from edgecnn.exporters.engines import is_here
from edgecnn.exporters.quantize.latency import measure_latencies
from edgecnn.exporters.targets import Target
from edgecnn.specs import Artifact

_BLOCKS = 5


def time_ratio(int8: Artifact, fp32: Artifact, target: Target) -> tuple[float | None, str]:
    """Return how many times as long as the fp32 file the int8 file takes, and a line for the user where it is slower.

    Both run in turns, a fraction of a second for a network of some milliseconds. None where this is not such a machine as the
    target's.
    """
    if not is_here(target):
        return None, ""
    latencies = measure_latencies((fp32, int8), backend=target.backend, blocks=_BLOCKS)
    ratio = latencies.ratio(1, 0)
    if ratio <= 1 or latencies.is_tie(1, 0):
        return ratio, ""
    return ratio, (
        f"int8 takes {ratio:.2f} x the time of fp32 on this machine, backend {target.backend}: keep the fp32 file unless "
        "its size matters more"
    )
