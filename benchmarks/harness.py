"""What the harness's own verdicts are worth: false alarms, missed slowdowns, and what measuring costs.

aa         the same file against itself, in turn: how often the gate at 3% calls a difference
load       the same with another program busy on one core; a verdict that says so is no false alarm
ab         a file against one with a convolution more, which makes it 10% slower: how often the gate sees it
loop       what the timed loop adds to a run
overhead   ten networks: wall time over timed seconds
one        the default bench of one model, wall time
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _common import FOLDER, model
from onnx import TensorProto, helper, numpy_helper, save

from edgecnn.artifacts import load_artifact
from edgecnn.bench import make_plan
from edgecnn.bench.clock import MonotonicClock
from edgecnn.bench.latency import sample
from edgecnn.report import check, compare, parse_limits
from edgecnn.runtimes import OpenOptions
from edgecnn.specs import Artifact

try:
    from edgecnn.bench import measure_interleaved
except ImportError:
    sys.exit("benchmarks/harness.py needs edgecnn.bench.measure_interleaved, which this version does not have")

GATES = parse_limits("latency>3%")

NETWORKS = (
    *("lenet5", "mobilenet_v1", "mobilenet_v2", "squeezenet1_1", "resnet20"),
    *("seresnet20", "shufflenet_v1", "vgg11", "googlenet", "zfnet"),
)
"""Ten that have bundled weights."""

_BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"

Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=40, help="of aa, load and ab each")
    parser.add_argument("--seconds", type=float, default=1.0, help="of sampling per file in each of those runs")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated")
    asked = parser.parse_args()
    rows = []
    for name in asked.parts.split(","):
        print(f"{name} ...", file=sys.stderr)
        rows.append(PARTS[name](asked.runs, asked.seconds))
    if asked.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            bound = f"{'at least' if row['least'] else 'at most'} {row['bound']}"
            print(f"{row['name']}: {row['value']:.4g} {row['unit']}, {bound}; {row['note']}")
    sys.exit(not all(row["holds"] for row in rows))


def aa(runs: int, seconds: float) -> Row:
    same = _chains()[0]
    found = [_judged(same, same, seconds) for _ in range(runs)]
    return _row("A/A, gate at 3%: false alarms", _share(found, "alarm"), 0.05, _told(found))


def load(runs: int, seconds: float) -> Row:
    same = _chains()[0]
    with _busy_core():
        found = [_judged(same, same, seconds) for _ in range(runs)]
    silent = [one for one in found if one["alarm"] and not one["doubt"]]
    return _row("A/A beside a busy core: silent false alarms", len(silent) / runs, 0.10, _told(found))


def ab(runs: int, seconds: float) -> Row:
    old, new = _chains()
    found = [_judged(old, new, seconds) for _ in range(runs)]
    return _row("A/B, 10% slower: found", _share(found, "alarm"), 0.95, _told(found), least=True)


def loop(runs: int, seconds: float) -> Row:
    """Compare the loop around nothing with Python's own loop around nothing."""

    def nothing() -> None:
        pass

    count, clock = 200_000, MonotonicClock()
    added = []
    for _ in range(7):
        begin = time.perf_counter_ns()
        n = sample(nothing, clock, min_runs=count, min_seconds=0, max_seconds=60).size
        ours = (time.perf_counter_ns() - begin) / n
        begin = time.perf_counter_ns()
        for _ in range(count):
            nothing()
        added.append(ours - (time.perf_counter_ns() - begin) / count)
    return _row("the timed loop adds to a run", min(added), 1000, f"median of 7: {np.median(added):.0f} ns", unit="ns")


def overhead(runs: int, seconds: float) -> Row:
    files = [model(name, name) for name in NETWORKS]
    wall, records = _bench(*map(str, files), "--seconds", "2", "--threads", "1")
    timed = sum(sum(sample_ns) / 1e9 for sample_ns in records)
    note = f"{wall:.1f} s for {timed:.1f} timed seconds of {len(records)} networks"
    return _row("bench of ten networks: wall over timed", wall / timed, 1.35, note)


def one(runs: int, seconds: float) -> Row:
    wall, _ = _bench(str(model("mobilenet_v1", "mobilenet_v1")))
    return _row("the default bench of one model", wall, 15, "mobilenet_v1, bundled", unit="s")


PARTS: dict[str, Callable[[int, float], Row]] = {
    "aa": aa,
    "load": load,
    "ab": ab,
    "loop": loop,
    "overhead": overhead,
    "one": one,
}


def _judged(old: Artifact, new: Artifact, seconds: float) -> dict[str, object]:
    """Return what the gate said of two files measured in turn."""
    plan = make_plan(seconds=seconds)
    first, second = measure_interleaved([old, new], backend="cpu", options=OpenOptions(threads=1), plan=plan)
    row = next(row for row in compare([first], [second]) if row.quantity == "latency")
    return {
        "ratio": row.ratio,
        "alarm": row.ratio is not None and bool(check([row], GATES)),
        "doubt": any(record.quality.verdict != "valid" for record in (first, second)),
        "reasons": [reason.code for record in (first, second) for reason in record.quality.reasons],
        "failed": [record.reason for record in (first, second) if record.status != "ok"],
    }


def _told(found: Sequence[dict[str, object]]) -> str:
    ratios = [float(str(one["ratio"])) for one in found if one["ratio"] is not None]
    doubts = sum(bool(one["doubt"]) for one in found)
    failed = sum(bool(one["failed"]) for one in found)
    middle = f"ratios {min(ratios):.4f} to {max(ratios):.4f}, median {np.median(ratios):.4f}" if ratios else "no ratios"
    return f"{len(found)} runs, {middle}, {doubts} with a verdict that is not valid, {failed} failed"


def _share(found: Sequence[dict[str, object]], key: str) -> float:
    return sum(bool(one[key]) for one in found) / len(found)


def _row(name: str, value: float, bound: float, note: str, *, unit: str = "", least: bool = False) -> Row:
    holds = value >= bound if least else value <= bound
    return {"name": name, "value": value, "bound": bound, "unit": unit, "least": least, "holds": holds, "note": note}


def _bench(*arguments: str) -> tuple[float, list[tuple[float, ...]]]:
    """Return the wall time of `edgecnn bench` in seconds and the latency samples of its records."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = [sys.executable, "-m", "edgecnn", "--quiet", "bench", *arguments, "--output", str(results), "--json"]
        begin = time.perf_counter()
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        wall = time.perf_counter() - begin
    metrics = [metric for record in json.loads(out) for metric in record["metrics"]]
    return wall, [tuple(metric["samples"]) for metric in metrics if metric["name"] == "latency"]


@contextmanager
def _busy_core() -> Iterator[None]:
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", _BUSY, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _chains() -> tuple[Artifact, Artifact]:
    """Return a chain of nine equal convolutions and one of ten, under one name, as two builds of a network have it.

    A ninth on top is 11% of the convolutions, and with what a run costs besides, 10% of its time.
    """
    paths = []
    for folder, count in (("nine", 9), ("ten", 10)):
        path = FOLDER / folder / "chain.onnx"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_chain(path, count)
        paths.append(path)
    return load_artifact(paths[0]), load_artifact(paths[1])


def _write_chain(path: Path, count: int) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3), np.float32) / 24
    nodes = [
        helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        for i in range(count)
    ]
    shape = ["N", 64, 28, 28]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{count}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    temporary = path.with_suffix(".part")
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), temporary)
    shutil.move(temporary, path)


if __name__ == "__main__":
    main()
