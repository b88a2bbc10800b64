"""How latencies are compared; how long anything takes is for the benchmarks."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.exporters.quantize.latency import Latencies, fastest, measure_latencies
from edgecnn.exporters.quantize.timing import time_ratio
from edgecnn.exporters.targets import find_target
from edgecnn.specs import Artifact


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


def lengthened(source: Path, target: Path, layers: int) -> Artifact:
    """Return a file with so many more convolutions of 16 to 16 channels."""
    model = onnx.load(source)
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "more"))
    last, index = "r", next(at for at, node in enumerate(model.graph.node) if "r" in node.output) + 1
    for layer in range(layers):
        made = f"more_{layer}"
        node = onnx.helper.make_node("Conv", [last, "more"], [made], name=made, pads=[1, 1, 1, 1])
        model.graph.node.insert(index + layer, node)
        last = made
    (reader,) = [node for node in model.graph.node if node.output[0] == "d"]
    reader.input[0] = last
    onnx.save(model, target)
    return load_artifact(target)


@pytest.mark.slow
def test_an_int8_file_that_is_slower_is_said(tiny: Path, tmp_path: Path) -> None:
    machine = "cpu-arm" if platform.machine() in ("aarch64", "arm64") else "cpu-x86"
    small, large = load_artifact(tiny), lengthened(tiny, tmp_path / "large.onnx", 100)
    ratio, line = time_ratio(large, small, find_target(machine))
    assert ratio is not None
    assert ratio > 1.2
    assert f"int8 takes {ratio:.2f} x the time of fp32 on this machine, backend cpu: keep the fp32 file" in line
    ratio, line = time_ratio(small, large, find_target(machine))
    assert (ratio is not None and ratio < 1, line) == (True, "")
    other = "cpu-x86" if machine == "cpu-arm" else "cpu-arm"
    assert time_ratio(large, small, find_target(other)) == (None, "")
