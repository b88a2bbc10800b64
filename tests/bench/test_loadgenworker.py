"""MLCommons' load generator in the process that measures: what comes into the record, and what it leaves when it ends badly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edgecnn.bench import Job, make_job, make_plan
from edgecnn.bench.generators import CLOCK, generator_version
from edgecnn.bench.interleave import measure_jobs
from edgecnn.bench.running import Result
from edgecnn.resultlines import dumps
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec

pytest.importorskip("mlperf_loadgen", reason="pip install 'edgecnn[loadgen]'")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which workers make temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def _job(scenario: str, *, seconds: float = 0.3, qps: float | None = None, bound_ns: float | None = None) -> Job:
    spec = ModelSpec(
        network="n",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
    )
    artifact = Artifact(path=Path("n.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)
    plan = make_plan(
        batch=4, seconds=seconds, scenario=scenario, qps=qps, latency_bound_ns=bound_ns, load_generator="mlcommons"
    )
    return make_job(artifact, backend="null", options=OpenOptions(engine={"delay_us": 500}), plan=plan)


@pytest.mark.parametrize(
    ("scenario", "qps"),
    [
        ("single-stream", None),
        pytest.param("multi-stream", None, marks=pytest.mark.slow),
        pytest.param("server", 200.0, marks=pytest.mark.slow),
        pytest.param("offline", None, marks=pytest.mark.slow),
    ],
)
def test_who_issued_the_queries_is_in_the_record(scenario: str, qps: float | None, temporary: Path) -> None:
    job = _job(scenario, qps=qps, bound_ns=1e9 if qps else None)
    (result,) = measure_jobs([job])
    record = result.record
    assert record.status == "ok", record.reason
    assert record.plan.load_generator == "mlcommons"
    assert record.plan.load_generator_version == generator_version("mlcommons")
    assert (record.plan.clock, record.plan.clock_resolution_ns) == (CLOCK, None)
    figures, latency, rate = record.scenario, record.metric("latency"), record.metric("throughput")
    assert figures is not None
    assert latency is not None
    assert rate is not None
    assert figures.title == f"MLPerf-style {scenario}"
    assert isinstance(figures.valid, bool)
    assert (rate.median, latency.n) == (figures.samples_per_second, figures.queries)
    assert latency.min >= 500_000
    assert figures.seconds == pytest.approx(0.3, rel=0.5)
    if scenario == "single-stream":
        assert figures.valid
        assert figures.tail_ns is not None
        assert figures.tail_ns >= (latency.p90 or 0.0)
    assert list(temporary.iterdir()) == []


# A worker whose model, in the twentieth run under the load generator, does what models should not.
_ODD = """
import ctypes, os, sys
import edgecnn.bench.worker as worker
from edgecnn.errors import InferenceError
end = sys.argv[1]
original = worker.run_load
def odd(plan, run, **others):
    runs = 0
    def model():
        nonlocal runs
        runs += 1
        if runs == 20:
            sys.stderr.write("out of luck\\n"); sys.stderr.flush()
            if end == "killed": os.kill(os.getpid(), 9)
            if end == "crashed": ctypes.string_at(0)
            if end == "failed": raise InferenceError("the engine gave up")
            if end == "bug": raise ZeroDivisionError("nobody thought of it")
        return run()
    return original(plan, model, **others)
worker.run_load = odd
worker.main()
"""

_ENDS = [
    ("killed", "the worker was killed (SIGKILL), as the kernel does when memory runs out: out of luck"),
    ("crashed", "the worker crashed (SIGSEGV): out of luck"),
    ("failed", "the engine gave up"),
    ("bug", "the worker ended with status 1: ZeroDivisionError: nobody thought of it"),
]


def _measured(end: str, scenario: str = "single-stream", qps: float | None = None) -> Result:
    (result,) = measure_jobs([_job(scenario, seconds=20, qps=qps)], command=(sys.executable, "-c", _ODD, end))
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("end", "reason"), _ENDS)
@pytest.mark.parametrize(("scenario", "qps"), [("single-stream", None), ("server", 300.0)])
def test_what_ends_a_worker_is_in_the_record(
    end: str, reason: str, scenario: str, qps: float | None, temporary: Path
) -> None:
    begin = time.perf_counter()
    result = _measured(end, scenario, qps)
    assert (result.record.status, result.record.reason) == ("failed", reason)
    assert (result.error is not None) == (end == "failed")
    # Far before the twenty seconds that were asked for.
    assert time.perf_counter() - begin < 15
    assert list(temporary.iterdir()) == []
    assert '"load_generator":"mlcommons"' in dumps(result.record).replace(" ", "")


_LONG = """
import sys, time
from pathlib import Path
from edgecnn.bench import make_plan, measure
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
spec = ModelSpec(network="n", inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),), outputs=())
artifact = Artifact(path=Path("n.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)
plan = make_plan(seconds=60, scenario="single-stream", load_generator="mlcommons")
print("ready", flush=True)
try:
    measure(artifact, backend="null", options=OpenOptions(engine={"delay_us": 1000}), plan=plan)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks for the generator through /proc")
def test_ctrl_c_ends_the_generator_and_leaves_nothing(temporary: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _LONG], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == "ready\n"
        worker = _issuing(parent.pid)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=20) == 0
        assert output.read() == "interrupted\n"
    assert not Path(f"/proc/{worker}").exists()
    assert list(temporary.iterdir()) == []


def _issuing(parent: int) -> int:
    """Return the number of the worker as soon as its load generator has opened its logs."""
    end = time.perf_counter() + 30
    while time.perf_counter() < end:
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            for link in Path(f"/proc/{child}/fd").iterdir():
                with suppress(OSError):  # closed in between
                    file = str(link.readlink())
                    if "mlperf_log_trace" in file and "(deleted)" in file:
                        return int(child)
        time.sleep(0.05)
    raise AssertionError("no load generator was started")
