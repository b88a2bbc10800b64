from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.bench.job import Job, decode_answer, encode_job
from edgecnn.bench.memory import Memory
from edgecnn.bench.plan import make_plan
from edgecnn.bench.worker import Steady, _peak_bytes, answer, perform, sample_steady
from edgecnn.devices.state import DeviceState
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.fakes import FakeClock, FakeRun, write_tree

MS = 1_000_000


def _job(**changes: Any) -> Job:
    spec = ModelSpec(
        network="tiny",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
    )
    artifact = Artifact(path=Path("tiny.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)
    values: dict[str, Any] = {
        "artifact": artifact,
        "backend": "null",
        "options": OpenOptions(engine={"delay_us": 500}),
        "plan": make_plan(batch=2, seconds=0.02, min_runs=12),
    }
    return Job(**{**values, **changes})


def test_perform_measures_every_phase() -> None:
    outcome = perform(_job())
    assert len(outcome.samples_ns) >= 12
    assert min(outcome.samples_ns) >= 500_000
    assert outcome.first_run_ns >= 500_000
    assert outcome.load_ns > 0
    assert outcome.warmup_runs >= 10
    assert (outcome.info.backend, outcome.clock, outcome.emulated) == ("null", "perf_counter_ns", False)
    assert outcome.clock_resolution_ns is not None
    assert outcome.activity is not None
    if sys.platform == "linux":
        assert outcome.memory_baseline_bytes is not None
        assert outcome.memory_baseline_bytes > 1 << 20


def test_sampling_follows_a_warm_up_and_lies_between_two_states(tmp_path: Path) -> None:
    """20 ms a run: ten runs of warm-up take 200 ms, fifteen samples of 21 ms pass 300 ms."""
    root = write_tree(tmp_path, {"proc/loadavg": "0.50 0 0 1/1 1\n"})
    clock = FakeClock()

    def grow_hot(call: int) -> None:
        if call == 12:
            write_tree(root, {"proc/loadavg": "0.75 0 0 1/1 1\n"})

    run = FakeRun(clock, [20 * MS] * 10 + [21 * MS], on_call=grow_hot)
    steady = sample_steady(run, clock, make_plan(seconds=0.3, min_runs=5), root=root)
    assert steady.warmup_runs == 10
    assert steady.samples_ns.tolist() == [21 * MS] * 15
    assert (steady.before.load_average, steady.after.load_average) == (0.5, 0.75)
    assert steady.activity is not None
    assert steady.activity.seconds == pytest.approx(0.315)
    assert steady.memory == (None, None)


def _steady(warm: Memory | None, end: Memory | None) -> Steady:
    state = DeviceState()
    return Steady(
        warmup_runs=1,
        samples_ns=np.ones(1000, np.int64),
        before=state,
        after=state,
        activity=None,
        memory=(warm, end),
    )


def _memory(peak: int) -> Memory:
    return Memory(resident_bytes=1, peak_bytes=peak)


@pytest.mark.parametrize(
    ("warm", "end", "was_reset", "peak"),
    [
        (_memory(50_000), _memory(58_000), True, 50_000),  # the samples' own 8000 bytes made the difference
        (_memory(50_000), _memory(50_000), True, 50_000),  # the peak was reached before there were samples
        (_memory(50_000), _memory(90_000), True, 82_000),
        (None, _memory(90_000), True, 82_000),
        (_memory(20_000), _memory(20_000), False, None),
        (_memory(20_000), _memory(90_000), False, 82_000),
        (None, None, True, None),
    ],
)
def test_the_peak_is_the_engines_and_not_the_samples(
    warm: Memory | None, end: Memory | None, was_reset: bool, peak: int | None
) -> None:
    assert _peak_bytes(_memory(20_000), _steady(warm, end), was_reset=was_reset) == peak


def test_without_a_baseline_there_is_no_peak() -> None:
    assert _peak_bytes(None, _steady(_memory(5), _memory(6)), was_reset=True) is None


def test_errors_become_messages() -> None:
    with pytest.raises(UnknownName, match="unknown backend 'nul'"):
        decode_answer(answer(encode_job(_job(backend="nul"))))
    with pytest.raises(Contradiction, match="backend null has no option"):
        decode_answer(answer(encode_job(_job(options=OpenOptions(engine={"speed": 1})))))
    with pytest.raises(BadInput, match="not JSON"):
        decode_answer(answer(b"hello"))


def _process(code: str, message: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], input=message, capture_output=True, check=False)


def test_the_module_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "edgecnn.bench.worker"],
        input=encode_job(_job()),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert len(decode_answer(done.stdout).samples_ns) >= 12


def test_an_engine_that_prints_cannot_spoil_the_answer() -> None:
    """Printed from Python, from C and by a child process, while the engine works and after it."""
    code = (
        "import atexit, os, subprocess, sys\n"
        "import edgecnn.runtimes.null as null, edgecnn.bench.worker as worker\n"
        "close = null._NullSession.close\n"
        "def loud(self):\n"
        "    print('from python', flush=True)\n"
        "    os.write(1, b'from c')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"from a child\")'])\n"
        "    close(self)\n"
        "null._NullSession.close = loud\n"
        "atexit.register(os.write, 1, b'at exit')\n"
        "worker.main()\n"
    )
    done = _process(code, encode_job(_job()))
    assert json.loads(done.stdout)["outcome"]["warmup_runs"] >= 10
    for text in (b"from python", b"from c", b"from a child", b"at exit"):
        assert text in done.stderr


def test_an_unforeseen_exception_ends_the_worker_with_a_traceback_and_no_answer() -> None:
    code = (
        "import edgecnn.runtimes.null as null, edgecnn.bench.worker as worker\n"
        "def fail(self, feeds): raise MemoryError('3 TiB')\n"
        "null._NullSession._run = fail\n"
        "worker.main()\n"
    )
    done = _process(code, encode_job(_job()))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.strip().endswith(b"MemoryError: 3 TiB")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's service is Linux's")
def test_the_worker_dies_with_the_process_that_started_it() -> None:
    """The parent starts a worker that would take a minute, prints its number and is killed without a chance to clean up."""
    parent_code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'edgecnn.bench.worker'], stdin=subprocess.PIPE)\n"
        f"worker.stdin.write({encode_job(_job(plan=make_plan(seconds=60)))!r}); worker.stdin.close()\n"
        "time.sleep(0.8)\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(500):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        os.sched_yield()
        subprocess.run(["sleep", "0.01"], check=True)
    pytest.fail("the worker outlived its parent")
