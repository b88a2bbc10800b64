"""Memory of a calibration: a child process tells its own peak, which does not grow with the number of images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

CHILD = """
import sys
from collections.abc import Iterator
from pathlib import Path
import numpy as np
from edgecnn.exporters.quantize import QuantizeConfig, quantize

def pictures(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(0, 256, (224, 224, 3)).astype(np.uint8)

source, output, count, method = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
quantize(source, output, calibration=pictures(count), config=QuantizeConfig(calibration_images=None, method=method))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""

FEW, MANY = 4, 64
LIMIT_BYTES = 1_500_000_000
GROWTH_BYTES = 60_000_000
"""A tenth of what the 60 further images would take in pixels and observed tensors; allocators are not exact."""


def peak_bytes(source: Path, output: Path, count: int) -> int:
    arguments = [sys.executable, "-c", CHILD, str(source), str(output), str(count), "entropy"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    from edgecnn.exporters.network import ExportOptions, export_network
    from edgecnn.zoo.registry import make_form

    source = export_network(make_form("resnet50"), tmp_path / "net.onnx", ExportOptions(weights="random")).path
    few, many = (peak_bytes(source, tmp_path / "int8.onnx", count) for count in (FEW, MANY))
    print(f"resnet50: {few / 1e6:.0f} MB with {FEW} images, {many / 1e6:.0f} MB with {MANY}")
    assert many < LIMIT_BYTES
    assert many < few + GROWTH_BYTES
