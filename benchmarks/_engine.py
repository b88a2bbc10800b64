"""One engine with one model in a process of its own, which runs when it is told to and waits without work in between.

    python benchmarks/_engine.py KIND FILE

Each line on standard input is a number of runs; the answer is a line with the durations of each in ns, as a JSON list: by the
clock, and of the processor. The latter tells what other programs took. One thread each, so that no engine has a worker that
spins while another one is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgecnn.artifacts import load_artifact
from edgecnn.childmain import take_output
from edgecnn.runtimes import OpenOptions, open_session

_THREADS = 1


class Engine:
    """The parent's end of such a process; the process ends with the `with` block.

    Args:
        kind: one of `KINDS`.
        path: the model.

    Attributes:
        failed: what it said last, where it ended by itself; else empty.
    """

    def __init__(self, kind: str, path: Path) -> None:
        self.failed = ""
        self._process = subprocess.Popen(
            [sys.executable, __file__, kind, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def turn(self, runs: int) -> list[tuple[int, int]]:
        """Return clock and processor time of some runs, ns; an empty list from an engine that has ended."""
        if self.failed:
            return []
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(runs, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if line:
            return [(clock, processor) for clock, processor in json.loads(line)]
        self.failed = _last_words(self._process)
        return []

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _last_words(process: subprocess.Popen[str]) -> str:
    _, text = process.communicate()
    if process.returncode < 0:
        return f"crashed, signal {-process.returncode}"
    return (text.strip().splitlines() or ["ended without a word"])[-1][:200]


def _onnxruntime(path: str) -> Callable[[], object]:
    """Return a run of onnxruntime as it is by default, but for the threads."""
    import onnxruntime  # noqa: PLC0415 (one engine per process)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {
        session.get_inputs()[0].name: _image([d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape])
    }
    return lambda: session.run(None, feeds)


def _edgecnn(path: str, backend: str) -> Callable[[], object]:
    session = open_session(load_artifact(path), backend=backend, options=OpenOptions(threads=_THREADS))
    feeds = {session.inputs[0].name: _image([d if isinstance(d, int) else 1 for d in session.inputs[0].shape])}
    return lambda: session.run(feeds)


def _openvino(path: str) -> Callable[[], object]:
    """Return a run of OpenVINO on a file of its own, with what backend openvino sets and nothing around the call."""
    import openvino  # noqa: PLC0415

    core = openvino.Core()
    model = core.read_model(path)
    shape = [d.get_length() if d.is_static else 1 for d in model.inputs[0].get_partial_shape()]
    model.reshape(shape)
    properties = {
        "INFERENCE_NUM_THREADS": _THREADS,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, "CPU", properties).create_infer_request()
    request.set_input_tensor(openvino.Tensor(_image(shape)))
    return request.infer  # type: ignore[no-any-return]


KINDS: Mapping[str, Callable[[str], Callable[[], object]]] = {
    "onnxruntime": _onnxruntime,
    "cpu": lambda path: _edgecnn(path, "cpu"),
    "openvino": lambda path: _edgecnn(path, "openvino"),
    "openvino alone": _openvino,
}


def _image(shape: list[int]) -> Any:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _measure(run: Callable[[], object], runs: int) -> list[tuple[int, int]]:
    times = []
    for _ in range(runs):
        processor, clock = time.process_time_ns(), time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - clock, time.process_time_ns() - processor))
    return times


def main() -> None:
    kind, path = sys.argv[1:]
    with TextIOWrapper(take_output()) as answers:
        run = KINDS[kind](path)
        for line in sys.stdin:
            print(json.dumps(_measure(run, int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
