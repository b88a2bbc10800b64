"""What the part that an application embeds costs above the bare engine, each held to a bound, in one run.

    python benchmarks/runtime.py [--only call,classify,cold,threads,serve] [--json]

    call      Session.run against InferenceSession.run
    classify  classify of a uint8 image of the network's size against the bare network
    cold      a fresh process to its first answer against the same steps by hand, also with the cache of optimised models
    threads   two threads that share one classifier against one; beside it what the bare engine gains, because two
              threads of one core gain less than two cores
    serve     requests per second of `edgecnn serve` against the Batcher of one process; memory growth

Networks are the paper's at 224 x 224, with random weights: speed does not depend on them. One thread per run.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from _cold import cold_starts
from _common import interleaved, model, report, row

import edgecnn
from edgecnn import OpenOptions
from edgecnn.artifacts import load_artifact
from edgecnn.runtimes import open_session

PARTS = ("call", "classify", "cold", "threads", "serve")

Row = dict[str, object]
Calls = tuple[Callable[[], object], Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, joined by commas")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    asked = parser.parse_args()
    chosen = asked.only.split(",")
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        parser.error(f"--only: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    measured = {"call": call, "classify": classify, "cold": cold, "threads": threads, "serve": serve}
    report((one for part in PARTS if part in chosen for one in measured[part]()), as_json=asked.json)


def call() -> Iterator[Row]:
    for name, options, rounds, runs, bound in (
        ("lenet5", (), 400, 100, 1.0),
        ("mobilenet_v2", ("--weights", "random"), 600, 1, 1.01),
    ):
        path = model(name, name, *options)

        @contextmanager
        def calls(path: Path = path) -> Iterator[Calls]:
            theirs = _engine(path)
            with open_session(load_artifact(path), options=OpenOptions(threads=1)) as ours:
                feeds = _feeds(ours)
                yield partial(ours.run, feeds), partial(theirs.run, None, feeds)

        a, b = interleaved(calls, rounds=rounds, runs=runs)
        yield row(f"{name}, one run", a / 1e3, b / 1e3, "us", bound)


def classify() -> Iterator[Row]:
    """Yield classify over the bare network; files that start from pixels are held against the network that takes floats."""
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    options = ("mobilenet_v2", "--weights", "random")
    fp32 = model("mobilenet_v2", *options)
    int8 = model("mobilenet_v2", *options, int8=True)
    in_graph = ("mobilenet_v2_pixels", *options, "--preprocess", "in-graph")
    ways = (
        ("fp32", fp32, fp32),
        ("fp32 from pixels", model(*in_graph), fp32),
        ("int8", int8, int8),
        ("int8 from pixels", model(*in_graph, int8=True), int8),
    )
    for title, path, network in ways:

        @contextmanager
        def calls(path: Path = path, network: Path = network) -> Iterator[Calls]:
            with (
                edgecnn.load(path, options=OpenOptions(threads=1)) as ours,
                open_session(load_artifact(network), options=OpenOptions(threads=1)) as bare,
            ):
                yield partial(ours.classify, image), partial(bare.run, _feeds(bare))

        a, b = interleaved(calls, rounds=800, runs=1)
        yield row(f"mobilenet_v2 {title}, classify", a / 1e3, b / 1e3, "us", 1.03)


def cold() -> Iterator[Row]:
    for name in ("mobilenet_v2", "resnet50"):
        figures = cold_starts(model(name, name, "--weights", "random"), rounds=15)
        medians = {
            who: [statistics.median(column) for column in zip(*all_, strict=True)] for who, all_ in figures.items()
        }
        for who, bound in (("edgecnn", 1.1), ("edgecnn, cached", 0.9)):
            for place, unit in enumerate(("ms", "MB")):
                title = f"{name}, fresh process to first answer, {who}, {unit}"
                yield row(title, medians[who][place], medians["by hand"][place], unit, bound)


def threads() -> Iterator[Row]:
    options = ("mobilenet_v2", "--weights", "random")
    path = model("mobilenet_v2", *options, int8=True)
    pixels = model("mobilenet_v2_pixels", *options, "--preprocess", "in-graph", int8=True)
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    engine = _engine(path)
    shared = OpenOptions(threads=1, spinning=False)
    with edgecnn.load(path, options=shared) as classifier, edgecnn.load(pixels, options=shared) as from_pixels:
        works: dict[str, Callable[[], Any]] = {
            "int8": partial(classifier.classify, image),
            "int8 from pixels": partial(from_pixels.classify, image),
            "bare": partial(engine.run, None, _feeds(classifier)),
        }
        rates: dict[tuple[str, int], list[float]] = {(name, n): [] for name in works for n in (1, 2)}
        for _ in range(10):
            for (name, n), found in rates.items():
                found.append(_rate(works[name], n))
    medians = {key: statistics.median(found) for key, found in rates.items()}
    gained = {name: medians[name, 2] / medians[name, 1] for name in works}
    for name in ("int8", "int8 from pixels"):
        yield row(f"mobilenet_v2 {name}, two threads over one", gained[name], 1.0, "times", 1.9, at_least=True)
        title = "the same, over what the bare engine gains"
        yield row(title, gained[name], gained["bare"], "times", 0.95, at_least=True)


def serve() -> Iterator[Row]:
    from _serve_load import compare  # noqa: PLC0415 (its packages are an extra)

    path = model("mobilenet_v2", "mobilenet_v2", "--weights", "random", int8=True)
    load = compare(path, clients=32, seconds=60)
    yield row(
        "serve, 32 clients, against the Batcher", load.served_per_s, load.batched_per_s, "req/s", 0.85, at_least=True
    )
    yield row("serve, memory at 60 s over 10 s", load.rss_end_bytes / 1e6, load.rss_10s_bytes / 1e6, "MB", 1.01)
    yield row("serve, requests failed or lost", float(load.failed + load.lost), 1.0, "requests", 0.0)


def _engine(path: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _feeds(session: Any) -> dict[str, Any]:
    spec = session.inputs[0]
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    return {spec.name: np.random.default_rng(0).standard_normal(shape, np.float32)}


def _rate(work: Callable[[], Any], count: int, seconds: float = 0.7) -> float:
    """Return calls per second of some threads together."""
    done = [0] * count
    end = time.perf_counter() + seconds

    def loop(place: int) -> None:
        while time.perf_counter() < end:
            work()
            done[place] += 1

    begin = time.perf_counter()
    workers = [threading.Thread(target=loop, args=(place,)) for place in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
