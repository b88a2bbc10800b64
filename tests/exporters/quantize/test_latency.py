"""How latencies are compared; how long anything takes is for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.exporters.quantize.latency import Latencies, fastest, measure_latencies


def blocks(*rows: list[float]) -> Latencies:
    return Latencies(block_ns=np.array(rows, np.float64))


def test_a_ratio_is_taken_within_blocks() -> None:
    drifting = blocks([100, 200, 400, 800, 900], [50, 100, 200, 400, 450])
    assert drifting.ratio(0, 1) == 2
    assert not drifting.is_tie(0, 1)
    assert drifting.medians_ns == (400, 200)
    assert drifting.without_first().medians_ns == (200,)


@pytest.mark.parametrize(
    ("rows", "tie"),
    [
        (([100, 101, 100, 99, 100], [101, 100, 100, 100, 101]), True),
        (([100, 100, 100, 100, 100], [101, 101, 101, 101, 101]), True),  # under the floor
        (([100, 100, 100, 100, 100], [105, 105, 105, 105, 105]), False),
        (([100, 100, 100, 100, 100], [60, 140, 110, 180, 75]), True),  # noise
    ],
)
def test_what_counts_as_equally_fast(rows: tuple[list[float], list[float]], tie: bool) -> None:
    assert blocks(*rows).is_tie(0, 1) == tie
    assert blocks(*rows).is_tie(1, 0) == tie


def test_of_equally_fast_files_the_more_accurate_is_taken() -> None:
    three = blocks([100] * 5, [101] * 5, [150] * 5)
    assert fastest(three, (0.90, 0.91, 0.99)) == 1
    assert fastest(three, (0.91, 0.90, 0.99)) == 0
    assert fastest(three, (0.90, 0.90, 0.99)) == 0


def test_files_take_turns(tiny: Path) -> None:
    artifact = load_artifact(tiny)
    found = measure_latencies([artifact, artifact], blocks=3)
    assert found.block_ns.shape == (2, 3)
    assert (found.block_ns > 0).all()
