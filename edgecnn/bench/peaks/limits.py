"""The process that measures what a machine can do at most with an engine: peak operations per second, and bandwidth by size.

In each round every kernel has its turn, so that a slow second of the machine falls on all of them; within a round the best run
counts, as in STREAM.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.bench.activity import Activity, activity_of, read_cpu_times, use_between
from edgecnn.bench.onejob import answer_one
from edgecnn.bench.peaks.bandwidth import Mover, working_sizes
from edgecnn.bench.peaks.peakgraphs import PeakGraph, float_graphs, int8_graphs
from edgecnn.bench.peaks.roofline import OPS_PER_MAC
from edgecnn.devices.caches import data_caches
from edgecnn.devices.detect import detect
from edgecnn.devices.emulation import is_emulated
from edgecnn.devices.state import DeviceState, read_state
from edgecnn.errors import EdgecnnError
from edgecnn.runtimes import open_session
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import EngineInfo, Scalar

ROUNDS = 7
"""Turns of every kernel: the middle one of seven is not moved by three bad ones."""

_BLOCK_SECONDS = 0.03

_LEAST_RUNS = 3

_WARM_RUNS = 3

_FAST_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationJob:
    """What the child measures.

    Attributes:
        backend: edgecnn's name.
        threads: of the engine, and that move memory.
        rounds: turns of every kernel.
        root: folder that stands for "/" where /proc and /sys are read.
    """

    backend: str
    threads: int
    rounds: int = ROUNDS
    root: Path = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCalibration:
    """What the child measured.

    Attributes:
        info: what ran the graphs.
        peaks: type of number -> kernel -> 10^9 operations per second of each round.
        missing: type of number -> why it was not measured.
        bandwidths: size of the working set in bytes -> GB/s of each round.
        before: the machine at the beginning.
        after: the machine at the end.
        activity: use of the processors meanwhile.
        emulated: the processor is emulated.
    """

    info: EngineInfo
    peaks: Mapping[str, Mapping[str, tuple[float, ...]]]
    missing: Mapping[str, str]
    bandwidths: Mapping[str, tuple[float, ...]]
    before: DeviceState
    after: DeviceState
    activity: Activity | None
    emulated: bool


def main() -> None:
    """Answer the job on standard input on standard output."""
    answer_one("calibrate", CalibrationJob, measure_limits)


@dataclass(slots=True)
class _Kernels:
    """What has a turn in every round, and what came of it.

    Attributes:
        peaks: (type of number, kernel) -> one turn, which returns 10^9 operations per second.
        missing: type of number -> why it is not measured.
        info: what runs them.
    """

    peaks: dict[tuple[str, str], Callable[[], float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    info: EngineInfo | None = None


def measure_limits(job: CalibrationJob) -> RawCalibration:
    """Return what this process measures; it should not have done anything else before.

    Raises:
        EdgecnnError: the backend cannot run the graphs.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgecnn-calibrate-")))
        kernels = _open_all(job, folder, stack)
        pool = stack.enter_context(ThreadPoolExecutor(job.threads))
        caches = data_caches(job.root)
        sizes = working_sizes(caches[-1].size_bytes if caches else None, detect(job.root).memory_bytes)
        turns = {f"{number} {name}": turn for (number, name), turn in kernels.peaks.items()}
        turns |= {str(size): partial(Mover(size, job.threads).gbps, pool) for size in sizes}
        before, begin, cpu_before = read_state(job.root), time.perf_counter_ns(), read_cpu_times(job.root)
        found: dict[str, list[float]] = {key: [] for key in turns}
        for _ in range(job.rounds):
            for key, turn in turns.items():
                found[key].append(turn())
        cpu_after = read_cpu_times(job.root)
        use = use_between(cpu_before, cpu_after, elapsed_ns=time.perf_counter_ns() - begin)
    assert kernels.info is not None
    peaks: dict[str, dict[str, tuple[float, ...]]] = {}
    for number, name in kernels.peaks:
        peaks.setdefault(number, {})[name] = tuple(found[f"{number} {name}"])
    return RawCalibration(
        info=kernels.info,
        peaks=peaks,
        missing=kernels.missing,
        bandwidths={str(size): tuple(found[str(size)]) for size in sizes},
        before=before,
        after=read_state(job.root),
        activity=activity_of([use] if use else []),
        emulated=is_emulated(job.root),
    )


def _open_all(job: CalibrationJob, folder: Path, stack: ExitStack) -> _Kernels:
    """Open a session for every graph; a type of number that this machine does not have is no error."""
    kernels = _Kernels()
    for number, graphs, engine in _asked(job, kernels.missing):
        for graph in graphs:
            try:
                turn, info = _open(job, graph, folder / f"{number}-{graph.name}.onnx", engine, stack)
            except EdgecnnError as error:
                if number == "fp32":
                    raise
                kernels.missing[number] = error.message
                break
            kernels.peaks[number, graph.name] = turn
            kernels.info = kernels.info or info
    return kernels


def _asked(
    job: CalibrationJob, missing: dict[str, str]
) -> Iterator[tuple[str, Sequence[PeakGraph], Mapping[str, Scalar]]]:
    yield "fp32", float_graphs(), {}
    yield "int8", int8_graphs(), {}
    device = detect(job.root)
    if job.backend == "openvino":
        yield "bf16", float_graphs(), {"inference_precision": "bf16"}
    elif device.arch == "aarch64" and "bf16" in device.features:
        yield "bf16", float_graphs(), {_FAST_BFLOAT16: True}
    elif device.arch == "aarch64":
        missing["bf16"] = "this processor has no bfloat16 instructions"
    else:
        missing["bf16"] = "onnxruntime computes in bfloat16 on 64-bit Arm only"


def _open(
    job: CalibrationJob, graph: PeakGraph, path: Path, engine: Mapping[str, Scalar], stack: ExitStack
) -> tuple[Callable[[], float], EngineInfo]:
    path.write_bytes(graph.content)
    options = OpenOptions(threads=job.threads, engine=engine)
    session = stack.enter_context(open_session(load_artifact(path), backend=job.backend, options=options))
    values = np.random.default_rng(0).standard_normal([int(size) for size in session.inputs[0].shape], np.float32)
    run = partial(session.run, {session.inputs[0].name: values})
    for _ in range(_WARM_RUNS):
        run()
    return partial(_turn, run, graph.macs), session.info()


def _turn(run: Callable[[], object], macs: int) -> float:
    """Return 10^9 operations per second of the best run."""
    begin = time.perf_counter_ns()
    best, runs, end = float("inf"), 0, begin
    while runs < _LEAST_RUNS or end - begin < _BLOCK_SECONDS * 1e9:
        start = time.perf_counter_ns()
        run()
        end = time.perf_counter_ns()
        best, runs = min(best, end - start), runs + 1
    return OPS_PER_MAC * macs / max(best, 1)


if __name__ == "__main__":
    main()
