"""What int8 gains: the paper's networks at 224 x 224, batch 1, one thread, int8 against fp32.

    python benchmarks/int8.py [--networks resnet50,googlenet] [--rounds 30] [--json]

fp32 is onnxruntime with its defaults on the file of `edgecnn export NETWORK --weights random`; int8 is the file of `edgecnn
quantize` on backend cpu. Every engine has a process of its own, and they take turns; figures are ratios of medians. Random
weights and images: speed does not depend on them.

Where openvino is installed, the file for target openvino on backend openvino takes turns with them, and where nncf is as well,
so does what that makes of the same network for OpenVINO; the last two columns are our time over theirs, to be at most 1.0 and
below 1.15.
Those two are aims: they do not decide the exit status, which is 1 when an int8 ratio is above its bound. Where other programs
run, their time falls into some runs and not into others: `on processor` is the ratio of processor times, without theirs, and
the verdict is "disturbed", with status 1 as well, where the medians are far from it.

What runs on the other thread of the same core slows both times alike, the clock's and the processor's. `quiet ratio` is that of
the tenth percentiles: of the runs that met the least of it. Where the medians miss the bound, this ratio holds it, and the
median of int8 is more than 1.1 times its tenth percentile, the verdict is "disturbed" too: nothing was shown either way, and
it is to be run again on a quieter machine. It never makes a missed bound a held one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _common import FOLDER, model
from _engine import Engine
from _row import Row, figures

from edgecnn.cli.output import print_table
from edgecnn.devices.detect import detect
from edgecnn.errors import EdgecnnError
from edgecnn.exporters.quantize import QuantizeConfig, quantize

BOUNDS: Mapping[str, float] = {
    "resnet50": 0.31,
    "googlenet": 0.33,
    "mobilenet_v1": 0.37,
    "mobilenet_v2": 0.43,
    "squeezenet1_1": 0.41,
    "densenet121": 0.35,
    "shufflenet_v1": 0.80,
    "mobilenet_v3_large": 0.70,
}
"""Network -> greatest int8 time over fp32 time, on a processor with VNNI. shufflenet_v1 has three groups."""

FORMS: Mapping[str, tuple[str, ...]] = {"googlenet": ("-O", "norm=bn")}
"""Options of `edgecnn export` where the plain form is not meant: local response norm takes most of GoogLeNet's fp32 time in
onnxruntime, so that any int8 file without it would look fast."""

AIM_OPENVINO, AIM_CPU = 1.0, 1.15

# Longer than a turn of any engine needs to get back what the others left of the caches.
_TURN_MS = 120

_QUIET_PERCENT = 10

_IMAGES = 8
_COLUMNS = (
    *("network", "fp32 ms", "int8 ms", "ratio", "quiet ratio", "on processor", "bound", "verdict"),
    *("openvino", "nncf", "openvino / nncf", "cpu / nncf"),
)


def main() -> None:
    asked = _arguments()
    machine = detect()
    vnni = bool({"avx512_vnni", "avx_vnni"} & set(machine.features))
    rows = []
    for network in asked.networks:
        try:
            rows.append(measure(network, asked.rounds, BOUNDS[network] if vnni else None))
        except (EdgecnnError, subprocess.CalledProcessError) as error:
            rows.append(_failed(network, str(error)))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    note = "" if vnni else ", no VNNI: the bounds do not apply"
    title = f"int8 against fp32, one thread: {machine.cpu}{note}"
    _tell(rows, title, as_json=asked.json)
    sys.exit(any(row.verdict in ("missed", "failed", "disturbed") for row in rows))


def measure(network: str, rounds: int, bound: float | None) -> Row:
    """Return the figures of one network; all engines run in turns.

    Args:
        network: a key of `BOUNDS`.
        rounds: turns of each engine.
        bound: see `Row`.
    """
    form = FORMS.get(network, ())
    fp32 = model("-".join((network, *form[1::2])), network, *form, "--weights", "random")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        engines = {"fp32": ("onnxruntime", fp32), "cpu": ("cpu", _int8(fp32, _cpu_target(), Path(name)))}
        failed = {one: "not installed" for one in ("openvino", "nncf") if not importlib.util.find_spec(one)}
        if "openvino" not in failed:
            engines["openvino"] = ("openvino", _int8(fp32, "openvino", Path(name)))
        if not failed:
            engines["nncf"] = ("openvino alone", _nncf(fp32))
        opened = {label: stack.enter_context(Engine(*engine)) for label, engine in engines.items()}
        times = _take_turns(opened, rounds)
        failed |= {label: engine.failed for label, engine in opened.items() if engine.failed}
    medians = {label: statistics.median(clock for clock, _ in values) for label, values in times.items()}
    return Row(
        network=network,
        fp32_ms=medians.get("fp32"),
        cpu_ms=medians.get("cpu"),
        openvino_ms=medians.get("openvino"),
        nncf_ms=medians.get("nncf"),
        quiet_ms={label: _quiet([clock for clock, _ in values]) for label, values in times.items()},
        processor_ms={label: statistics.median(own for _, own in values) for label, values in times.items()},
        bound=bound,
        failed=failed,
    )


def _take_turns(engines: Mapping[str, Engine], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return clock and processor time of each run, ms, but for the first of a turn, which finds cold caches."""
    runs = {}
    for label, engine in engines.items():
        warm = engine.turn(4)
        runs[label] = max(2, round(_TURN_MS * 1e6 / min(own for _, own in warm))) if warm else 2
    times: dict[str, list[tuple[float, float]]] = {label: [] for label in engines}
    labels = list(engines)
    for index in range(rounds):
        shift = index % len(labels)
        for label in (*labels[shift:], *labels[:shift]):
            turn = engines[label].turn(runs[label] + 1)[1:]
            times[label] += [(clock / 1e6, own / 1e6) for clock, own in turn]
    return {label: values for label, values in times.items() if values}


def _int8(fp32: Path, target: str, folder: Path) -> Path:
    """Return the int8 file for a target, made now: what an earlier version wrote would measure that version."""
    path = folder / f"{fp32.stem}.{target}.onnx"
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(_IMAGES)]
    quantize(fp32, path, calibration=images, config=QuantizeConfig(target=target))
    return path


def _nncf(fp32: Path) -> Path:
    path = FOLDER / f"{fp32.stem}.nncf.xml"
    if not path.exists() or path.stat().st_mtime < fp32.stat().st_mtime:
        maker = Path(__file__).with_name("_nncf.py")
        subprocess.run([sys.executable, str(maker), str(fp32), str(path)], check=True, capture_output=True)
    return path


def _cpu_target() -> str:
    return "cpu-arm" if detect().arch == "aarch64" else "cpu-x86"


def _failed(network: str, reason: str) -> Row:
    return Row(
        network=network,
        fp32_ms=None,
        cpu_ms=None,
        openvino_ms=None,
        nncf_ms=None,
        quiet_ms={},
        processor_ms={},
        bound=None,
        failed={"all": reason},
    )


def _quiet(times: Sequence[float]) -> float:
    return float(np.percentile(times, _QUIET_PERCENT))


def _cells(row: Row) -> tuple[str, ...]:
    ratios = figures(row)
    return (
        *(
            row.network,
            _text(row.fp32_ms),
            _text(row.cpu_ms),
            _text(row.ratio, 3),
            _text(row.quiet_ratio, 3),
            _text(ratios["processor_ratio"], 3),
        ),
        *(_text(row.bound), row.verdict),
        *(_text(ratios[key]) for key in ("openvino_ratio", "nncf_ratio", "openvino_over_nncf", "cpu_over_nncf")),
    )


def _text(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _line(row: Row) -> str:
    return "  ".join(_cells(row)) + "".join(f"  {who}: {why}" for who, why in row.failed.items())


def _tell(rows: Sequence[Row], title: str, *, as_json: bool) -> None:
    if as_json:
        written = [{**asdict(row), "verdict": row.verdict, **figures(row)} for row in rows]
        print(json.dumps({"title": title, "rows": written}, indent=2))
        return
    lines = [
        "openvino, nncf: int8 time over fp32 time, our file on backend openvino and NNCF's on OpenVINO",
        f"openvino / nncf: our time over theirs, aim at most {AIM_OPENVINO}; cpu / nncf: below {AIM_CPU}",
        *(f"{row.network}: {who}: {why}" for row in rows for who, why in row.failed.items()),
    ]
    print_table(title, _COLUMNS, [_cells(row) for row in rows], left=("network", "verdict"), caption="\n".join(lines))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the same as JSON on standard output")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each engine (default 30)")
    parser.add_argument("--networks", type=_networks, default=tuple(BOUNDS), help="of: " + ",".join(BOUNDS))
    asked = parser.parse_args()
    if asked.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {asked.rounds}")
    return asked


def _networks(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in BOUNDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no bound for {', '.join(unknown)}; known: {', '.join(BOUNDS)}")
    return names


if __name__ == "__main__":
    main()
