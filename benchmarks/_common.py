"""What the benchmarks share: models, interleaved timing, the report line."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("demo/benchmarks")


def edgecnn(*arguments: str) -> None:
    """Run the command line of this environment."""
    subprocess.run([sys.executable, "-m", "edgecnn", "--quiet", *arguments], check=True, stdout=subprocess.DEVNULL)


def model(name: str, *export_options: str, int8: bool = False) -> Path:
    """Return an exported (and quantized) model, made on first use and whenever the code that makes it is newer."""
    path = FOLDER / f"{name}.onnx"
    code = _newest_code()
    if _made(path) < code:
        edgecnn("export", *export_options, "--output", str(path))
    if not int8:
        return path
    quantized = path.with_name(f"{name}.int8.onnx")
    if _made(quantized) < max(code, _made(path)):
        edgecnn("quantize", str(path), "--output", str(quantized))
    return quantized


def _made(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else -math.inf


def _newest_code() -> float:
    """Return when the newest file was written that makes models."""
    package = Path(find_spec("edgecnn").origin).parent
    folders = (package / "zoo", (package / "exporters").resolve())
    return max(file.stat().st_mtime for folder in folders for file in folder.rglob("*.py"))


def interleaved(
    opened: Callable[[], AbstractContextManager[tuple[Callable[[], object], Callable[[], object]]]],
    *,
    rounds: int,
    runs: int,
    openings: int = 4,
) -> tuple[float, float]:
    """Return the medians in ns of two calls, taken in alternating rounds so that both see the same machine.

    Args:
        opened: gives both calls; it is asked several times, as where the memory of a session lies moves a network by a percent.
        rounds: in all.
        runs: of each call in a round.
        openings: how often.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(openings):
        with opened() as calls:
            for call in calls * 3:
                call()
            for index in range(rounds // openings):
                for which in (0, 1) if index % 2 else (1, 0):
                    call = calls[which]
                    start = time.perf_counter_ns()
                    for _ in range(runs):
                        call()
                    times[which].append((time.perf_counter_ns() - start) / runs)
    return statistics.median(times[0]), statistics.median(times[1])


def report(rows: Iterable[dict[str, object]], *, as_json: bool) -> None:
    """Print name, both figures, ratio and bound of each row; exit with 1 when a ratio is beyond its bound."""
    shown = []
    for row in rows:
        shown.append(row)
        side = "at least" if row["at_least"] else "at most"
        figures = f"{row['ours']:.4g} against {row['theirs']:.4g} {row['unit']}"
        verdict = "held" if row["held"] else "MISSED"
        line = f"{row['name']}: {figures}, ratio {row['ratio']:.3f}, {side} {row['bound']}: {verdict}"
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(json.dumps(shown, indent=2))
    sys.exit(not all(row["held"] for row in shown))


def row(name: str, ours: float, theirs: float, unit: str, bound: float, *, at_least: bool = False) -> dict[str, object]:
    """Return one line of the report."""
    ratio = ours / theirs
    held = ratio >= bound if at_least else ratio <= bound
    figures: dict[str, object] = {"ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio}
    return {"name": name, **figures, "bound": bound, "at_least": at_least, "held": held}
