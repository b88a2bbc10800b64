from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn.bench.job import (
    Block,
    BlockAsked,
    FirstRun,
    Job,
    Loaded,
    WarmUp,
)
from edgecnn.bench.memory import Phase, PhaseMeter
from edgecnn.bench.plan import make_plan
from edgecnn.bench.watch import Watch, without_samples
from edgecnn.bench.wire import decode_answer, encode_request
from edgecnn.bench.worker import Worker, answers
from edgecnn.errors import BadInput, UnknownName
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.fakes import FakeClock, write_tree

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


def _requests(job: Job, *blocks: BlockAsked) -> bytes:
    warm = WarmUp(min_runs=10, min_seconds=0.01, max_seconds=0.1)
    lines = [encode_request("load", job), encode_request("first"), encode_request("warm", warm)]
    return b"".join(lines + [encode_request("block", block) for block in blocks])


BLOCK = BlockAsked(min_runs=12, min_seconds=0.02, max_seconds=1.0)


LONG = BlockAsked(min_runs=1, min_seconds=60, max_seconds=60)


@pytest.mark.slow
def test_every_phase_is_measured() -> None:
    worker = Worker()
    loaded = worker.load(_job())
    first = worker.first()
    warmed = worker.warm(WarmUp(min_runs=10, min_seconds=0.01, max_seconds=0.1))
    block = worker.block(BLOCK).whole()
    worker.close()
    assert len(block.samples_ns) >= 12
    assert block.samples_ns.min() >= 500_000
    assert block.end_ns - block.begin_ns >= block.samples_ns.sum()
    assert first.first_run_ns >= 500_000
    assert loaded.load_ns > 0
    assert warmed.runs >= 10
    assert warmed.median_ns >= 500_000
    assert (warmed.info.backend, loaded.clock, loaded.emulated) == ("null", "perf_counter_ns", False)
    assert loaded.clock_resolution_ns is not None
    assert block.use is not None
    if sys.platform == "linux":
        assert loaded.baseline is not None
        assert loaded.baseline.resident_bytes > 1 << 20
        for phase in (loaded.memory, first.memory, warmed.memory, block.memory):
            assert phase is not None
            assert phase.peak_bytes is not None


def test_a_block_lies_between_two_states(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/loadavg": "0.50 0 0 1/1 1\n"})
    clock = FakeClock()
    watch = Watch(clock, PhaseMeter(root), root, cgroup_before=None)
    watch.begin()
    clock.advance(315 * MS)
    watch.end()
    write_tree(root, {"proc/loadavg": "0.75 0 0 1/1 1\n"})
    block = watch.timed(np.array([21 * MS] * 15)).whole()
    assert (block.before.load_average, block.after.load_average) == (0.5, 0.75)
    assert block.use is not None
    assert block.use.elapsed_ns == 315 * MS
    assert (block.memory, block.cgroup_peak_bytes) == (None, None)
    assert block.samples_ns.tolist() == [21 * MS] * 15


@pytest.mark.parametrize(("before", "after", "told"), [(50, 90, 90), (90, 90, None), (None, 90, None)])
def test_the_containers_peak_counts_only_if_it_was_reached_since(
    tmp_path: Path, before: int | None, after: int, told: int | None
) -> None:
    root = write_tree(
        tmp_path,
        {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/memory.peak": f"{after}\n", "sys/fs/cgroup/x": ""},
    )
    watch = Watch(FakeClock(step_ns=1), PhaseMeter(root), root, cgroup_before=before)
    watch.begin()
    watch.end()
    assert watch.timed(np.array([1])).block.cgroup_peak_bytes == told


def test_the_peak_is_the_engines_and_not_the_samples() -> None:
    assert without_samples(Phase(resident_bytes=70, peak_bytes=90, file_bytes=5), 8) == Phase(
        resident_bytes=62, peak_bytes=82, file_bytes=5
    )
    assert without_samples(Phase(resident_bytes=70, peak_bytes=None), 8) == Phase(resident_bytes=62, peak_bytes=None)
    assert without_samples(None, 8) is None


def _answer(line: bytes) -> bytes:
    (answer,) = answers([line], Worker())
    return answer


def test_errors_become_messages() -> None:
    with pytest.raises(UnknownName, match="unknown backend 'nul'"):
        decode_answer(_answer(encode_request("load", _job(backend="nul"))), "load", Loaded)
    with pytest.raises(UnknownName, match="engine option of backend null 'speed'"):
        job = _job(options=OpenOptions(engine={"speed": 1}))
        decode_answer(_answer(encode_request("load", job)), "load", Loaded)
    with pytest.raises(BadInput, match="not JSON"):
        decode_answer(_answer(b"hello\n"), "load", Loaded)
    with pytest.raises(BadInput, match="expected load first"):
        decode_answer(_answer(encode_request("first")), "first", FirstRun)


def test_a_refused_request_does_not_end_the_conversation() -> None:
    lines = [b"hello\n", encode_request("jump"), encode_request("load", _job()), encode_request("first")]
    told = list(answers(lines, Worker()))
    assert [b'"error"' in one for one in told] == [True, True, False, False]


def _process(code: str, message: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], input=message, capture_output=True, check=False)


@pytest.mark.slow
def test_the_module_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "edgecnn.bench.worker"],
        input=_requests(_job(), BLOCK, BLOCK),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    lines = done.stdout.splitlines(keepends=True)
    assert len(lines) == 5
    for line in lines[3:]:
        assert len(decode_answer(line, "block", Block).samples_ns) >= 12


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
    done = _process(code, _requests(_job()))
    assert [list(json.loads(line)) for line in done.stdout.splitlines()] == [["load"], ["first"], ["warm"]]
    for text in (b"from python", b"from c", b"from a child", b"at exit"):
        assert text in done.stderr


@pytest.mark.slow
def test_an_unforeseen_exception_ends_the_worker_with_a_traceback_and_no_answer() -> None:
    code = (
        "import edgecnn.runtimes.null as null, edgecnn.bench.worker as worker\n"
        "def fail(self, feeds): raise MemoryError('3 TiB')\n"
        "null._NullSession._run = fail\n"
        "worker.main()\n"
    )
    done = _process(code, _requests(_job()))
    assert (done.returncode, done.stdout.count(b"\n")) == (1, 1)
    assert done.stderr.strip().endswith(b"MemoryError: 3 TiB")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's service is Linux's")
def test_the_worker_dies_with_the_process_that_started_it() -> None:
    """The parent starts a worker that would take a minute, prints its number and is killed without a chance to clean up."""
    parent_code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'edgecnn.bench.worker']\n"
        "worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
        f"worker.stdin.write({_requests(_job(), LONG)!r}); worker.stdin.flush()\n"
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
