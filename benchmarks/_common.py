"""What the benchmarks share: models, interleaved timing, the report line."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path("demo/benchmarks")


def edgecnn(*arguments: str) -> None:
    """Run the command line of this environment."""
    subprocess.run([sys.executable, "-m", "edgecnn", "--quiet", *arguments], check=True, stdout=subprocess.DEVNULL)


def model(name: str, *export_options: str, int8: bool = False) -> Path:
    """Return an exported (and quantized) model, made on first use."""
    path = FOLDER / f"{name}.onnx"
    if not path.exists():
        edgecnn("export", *export_options, "--output", str(path))
    if not int8:
        return path
    quantized = path.with_name(f"{name}.int8.onnx")
    if not quantized.exists():
        edgecnn("quantize", str(path), "--output", str(quantized))
    return quantized


def interleaved(ours: Callable[[], None], theirs: Callable[[], None], *, rounds: int, runs: int) -> tuple[float, float]:
    """Return the medians in ns of two calls, taken in alternating rounds so that both see the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        ours()
        theirs()
    for index in range(rounds):
        for which in (0, 1) if index % 2 else (1, 0):
            call = (ours, theirs)[which]
            start = time.perf_counter_ns()
            for _ in range(runs):
                call()
            times[which].append((time.perf_counter_ns() - start) / runs)
    return statistics.median(times[0]), statistics.median(times[1])


def report(rows: list[dict[str, object]]) -> None:
    """Print name, both figures, ratio and bound of each row; exit with 1 when a ratio is above its bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    if parser.parse_args().json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            figures = f"{row['ours']:.4g} against {row['theirs']:.4g} {row['unit']}"
            print(f"{row['name']}: {figures}, ratio {row['ratio']:.3f}, bound {row['bound']}")
    sys.exit(any(float(str(row["ratio"])) > float(str(row["bound"])) for row in rows))


def row(name: str, ours: float, theirs: float, unit: str, bound: float) -> dict[str, object]:
    """Return one line of the report."""
    return {"name": name, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ours / theirs, "bound": bound}
