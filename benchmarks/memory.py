"""What the estimate of memory is worth: estimated against measured, networks of the zoo in fp32 and int8, several batches.

    python benchmarks/memory.py [--networks lenet5,resnet18 | --files a.onnx,b.onnx] [--batches 1,4,16] [--json]

Both are about backend cpu on one thread with the arena off. `held` is what an open session keeps: weights as the engine packs
them, and the session around them. `run` is the most that a run holds at a time beyond that. `both` is their sum. The estimate
comes from the graph alone (`bench.estimate`), the measurement from a process for each file (`_held.py`). Networks of
224 pixels have random weights, the small ones those that are bundled; int8 files are calibrated on random images: memory does
not depend on values. Exits with 1 where one of the three is more than 15% off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from _common import FOLDER, model

from edgecnn.artifacts import load_artifact
from edgecnn.bench.estimate.footprint import footprint_of
from edgecnn.cli.output import print_table
from edgecnn.exporters.quantize import QuantizeConfig, quantize
from edgecnn.units import bytes_text

BOUND = 0.15

BUNDLED = (
    *("lenet5", "nin_cifar", "zfnet", "alexnet", "googlenet", "vgg11", "resnet20", "densenet_bc", "fractalnet_cifar"),
    *("squeezenet1_1", "xception", "mobilenet_v1", "nasnet_a_cifar", "seresnet20", "shufflenet_v1", "mobilenet_v2"),
    "mobilenet_v3_small",
)
"""Networks with bundled weights, of 28 and 32 pixels."""

RANDOM = (
    *(
        "resnet18",
        "mobilenet_v1",
        "mobilenet_v2",
        "squeezenet1_1",
        "shufflenet_v1",
        "alexnet",
        "googlenet",
        "densenet121",
    ),
    *("mobilenet_v3_large", "shufflenet_v2_x1_0", "efficientnet_lite0", "preact_resnet18", "seresnet50"),
)
"""Networks of full size."""

_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file at one batch; sizes in bytes.

    Attributes:
        name: of the file.
        batch: images per run.
        held: estimated and measured, of an open session.
        run: estimated and measured, of a run beyond that.
    """

    name: str
    batch: int
    held: tuple[int, int]
    run: tuple[int, int]

    @property
    def errors(self) -> tuple[float, float, float]:
        """Estimated over measured, less 1: of held, run and both."""
        both = (self.held[0] + self.run[0], self.held[1] + self.run[1])
        return tuple(estimated / measured - 1 for estimated, measured in (self.held, self.run, both))

    @property
    def within(self) -> bool:
        """Whether all three hold the bound."""
        return all(abs(error) <= BOUND for error in self.errors)


def main() -> None:
    asked = _arguments()
    rows = []
    for path in asked.files or _made(asked.networks):
        for row in measure(path, asked.batches):
            rows.append(row)
            print(" ".join(_cells(row)), file=sys.stderr, flush=True)
    if asked.json:
        told = [{**asdict(row), "errors": row.errors, "within": row.within} for row in rows]
        print(json.dumps({"bound": BOUND, "rows": told}, indent=2))
    else:
        columns = ("file", "batch", "held est.", "held", "", "run est.", "run", "", "both", "verdict")
        print_table(f"memory, bound {BOUND:.0%}", columns, [_cells(row) for row in rows])
    sys.exit(not all(row.within for row in rows))


def measure(path: Path, batches: str) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        path: of the model.
        batches: separated by commas.
    """
    command = [sys.executable, str(Path(__file__).with_name("_held.py")), str(path), batches]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    artifact = load_artifact(path)
    for batch, measured in told["run_bytes"].items():
        estimate = footprint_of(artifact, batch=int(batch))
        yield Row(
            name=path.stem,
            batch=int(batch),
            held=(estimate.weights_bytes + estimate.session_bytes, told["held_bytes"]),
            run=(estimate.activations_bytes, measured),
        )


def _made(networks: tuple[str, ...] | None) -> Iterator[Path]:
    """Yield fp32 and int8 files of networks, made where need be."""
    for name in BUNDLED:
        if networks is None or name in networks:
            yield from _both(model(name, name))
    for name in RANDOM:
        if networks is None or name in networks:
            yield from _both(model(f"{name}-random", name, "--weights", "random"))


def _both(fp32: Path) -> tuple[Path, Path]:
    int8 = FOLDER / f"{fp32.stem}.calibrated-on-noise.int8.onnx"
    if not int8.exists() or int8.stat().st_mtime < fp32.stat().st_mtime:
        _, channels, height, width = load_artifact(fp32).spec.inputs[0].shape
        shape = (height, width, 3) if channels == 3 else (height, width)
        generator = np.random.default_rng(0)
        images = [generator.integers(0, 256, shape, np.uint8) for _ in range(_IMAGES)]
        quantize(fp32, int8, calibration=images, config=QuantizeConfig(target="cpu-x86"))
    return fp32, int8


def _cells(row: Row) -> tuple[str, ...]:
    held, run, both = (f"{error:+.1%}" for error in row.errors)
    return (
        *(row.name, str(row.batch)),
        *(*map(bytes_text, row.held), held),
        *(*map(bytes_text, row.run), run),
        *(both, "held" if row.within else "MISSED"),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=lambda text: tuple(text.split(",")), help="comma-separated")
    parser.add_argument(
        "--files", type=lambda text: [Path(name) for name in text.split(",")], help="instead of networks"
    )
    parser.add_argument("--batches", default="1,4,16", help="comma-separated")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
