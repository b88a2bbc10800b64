from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecnn import resultlines
from edgecnn.artifacts import load_artifact
from edgecnn.bench import Progress, make_plan, measure, unmeasured
from edgecnn.bench.job import Job
from edgecnn.bench.metrics import throughput
from edgecnn.bench.stats import summarise
from edgecnn.bench.wire import decode_request
from edgecnn.errors import BadInput, UnknownName
from edgecnn.results import Record
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Accuracy, Artifact, ModelSpec, Step, TensorSpec

PLAN = make_plan(batch=2, seconds=0.05, min_runs=20)
SLOW = OpenOptions(engine={"delay_us": 500})


def _artifact(*shape: int | str) -> Artifact:
    return Artifact(
        path=Path("/data/jane/tiny.int8.onnx"),
        format="onnx",
        precision="int8",
        sha256="ab" * 32,
        size_bytes=4096,
        spec=ModelSpec(
            network="tiny",
            variant="0.25",
            inputs=(TensorSpec(name="x", dtype="float32", shape=shape or ("N", 3, 4, 4)),),
            outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
            params=7,
            macs=9,
            weights="random",
            accuracy=(
                Accuracy(
                    metric="top1",
                    value=0.5,
                    dataset="d",
                    split="test",
                    images=10,
                    precision="int8",
                    backend="cpu",
                ),
            ),
        ),
        lineage=(Step(tool="t", version="1"),),
    )


@pytest.fixture(scope="module")
def record() -> Record:
    return measure(_artifact(), backend="null", options=SLOW, plan=PLAN)


def test_the_record_is_complete_and_survives_its_json(record: Record) -> None:
    assert (record.status, record.reason) == ("ok", None)
    assert resultlines.loads(resultlines.dumps(record)) == record
    assert record.quality.verdict in ("valid", "suspect", "invalid")
    assert record.plan == replace(PLAN, clock_resolution_ns=record.plan.clock_resolution_ns)
    assert record.plan.clock_resolution_ns is not None
    assert record.device.cores is not None
    assert record.runtime is not None
    assert (record.runtime.backend, record.runtime.options["delay_us"]) == ("null", 500.0)


def test_the_subject_comes_from_the_artifact(record: Record) -> None:
    subject, artifact = record.subject, _artifact()
    assert (subject.network, subject.variant, subject.precision, subject.batch) == ("tiny", "0.25", "int8", 2)
    assert (subject.input_shape, subject.file) == ((2, 3, 4, 4), "tiny.int8.onnx")
    assert (subject.sha256, subject.size_bytes) == ("ab" * 32, 4096)
    assert (subject.params, subject.macs, subject.weights) == (7, 9, "random")
    assert subject.lineage == artifact.lineage
    assert subject.accuracy == ()  # there is no such file, so nothing says that it is the one that was measured


def test_the_metrics(record: Record) -> None:
    names = [metric.name for metric in record.metrics]
    assert names[:4] == ["latency", "throughput", "load", "first_run"]
    latency, rate = record.metric("latency"), record.metric("throughput")
    assert latency is not None
    assert rate is not None
    assert latency.n == len(latency.samples) >= 20
    assert 500_000 <= latency.min <= latency.median
    assert rate.median == pytest.approx(2e9 / latency.median)
    for name in ("load", "first_run"):
        single = record.metric(name)
        assert single is not None
        assert (single.n, single.unit) == (1, "ns")
    if sys.platform == "linux":
        memory = {name: record.metric(f"memory_{name}") for name in ("baseline", "peak", "added")}
        values = {name: metric.median for name, metric in memory.items() if metric}
        assert values["peak"] - values["baseline"] == values["added"]
        assert 0 <= values["added"] < values["baseline"]


def test_nothing_in_the_record_tells_a_folder(record: Record) -> None:
    assert "/data/jane" not in resultlines.dumps(record)


def test_throughput_follows_from_latency() -> None:
    latency = summarise("latency", "ns", [4e6, 5e6, 5e6, 10e6] * 5)
    rate = throughput(latency, batch=16)
    assert (rate.min, rate.median, rate.max) == (1600.0, 3200.0, 4000.0)
    assert rate.mean == pytest.approx(16 * 20 / 0.12)  # 320 images in 120 ms
    assert latency.ci95 is not None
    assert rate.ci95 == pytest.approx((16e9 / latency.ci95[1], 16e9 / latency.ci95[0]))
    assert (rate.n, rate.samples, rate.p90, rate.p99) == (20, (), None, None)


@pytest.mark.slow
def test_progress_is_told() -> None:
    seen: list[Progress] = []
    measure(_artifact(), backend="null", options=SLOW, plan=make_plan(seconds=1), on_progress=seen.append)
    assert seen
    assert seen[-1].elapsed_seconds > 0.4
    assert {progress.expected_seconds for progress in seen} == {1.1}


def _never(folder: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", f"open({str(folder / 'started')!r}, 'w')")


def test_an_unknown_backend_is_refused_before_any_process_starts(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown backend 'cup'"):
        measure(_artifact(), backend="cup", command=_never(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shape", "text"), [((1, 3, 4, 4), "expected batch 1, got 2"), (("N", 3, "H", 4), "symbolic")])
def test_a_shape_that_does_not_fit_is_refused_before_any_process_starts(
    tmp_path: Path, shape: tuple[int | str, ...], text: str
) -> None:
    with pytest.raises(BadInput, match=text):
        measure(_artifact(*shape), backend="null", plan=PLAN, command=_never(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_error_of_the_worker_is_raised_here() -> None:
    with pytest.raises(UnknownName, match="engine option of backend null 'warp'") as caught:
        measure(_artifact(), backend="null", options=OpenOptions(engine={"warp": 9}), plan=PLAN)
    assert "delay_us" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import os, sys; sys.stderr.write('bad alloc\\n'); sys.stderr.flush(); os.abort()",
            "the worker crashed (SIGABRT): bad alloc",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            "the worker was killed (SIGKILL), as the kernel does when memory runs out",
        ),
        ("raise MemoryError", "the worker ended with status 1: MemoryError"),
        ("print('hello')", "the worker's answer cannot be read: JSONDecodeError: "),
        ("print({})", "the worker's answer cannot be read: KeyError: 'load'"),
        ("import sys; sys.stdout.write('half a line')", "the worker's answer cannot be read: b'half a line'"),
        ("", "the worker wrote no result"),
    ],
)
def test_a_worker_that_dies_is_a_record_with_its_last_words(code: str, reason: str) -> None:
    record = measure(_artifact(), backend="null", plan=PLAN, command=(sys.executable, "-c", code))
    assert record.status == "failed"
    assert record.reason is not None
    assert record.reason.startswith(reason)
    assert (record.runtime, record.metrics, record.quality.verdict) == (None, (), None)
    assert (record.subject.file, record.plan) == ("tiny.int8.onnx", PLAN)
    assert resultlines.loads(resultlines.dumps(record)) == record


def test_a_skip_is_a_record_too() -> None:
    record = unmeasured(_artifact("N", 3, "H", 4), plan=PLAN, status="skipped", reason="needs another size")
    assert (record.status, record.reason, record.subject.input_shape) == ("skipped", "needs another size", None)


def _write_convolution(path: Path) -> None:
    """Write a model with 4 MB of weights that cannot be folded away."""
    onnx = pytest.importorskip("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(0).standard_normal((1024, 1024, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "convolution",
        [helper.make_tensor_value_info("x", float32, ["N", 1024, 4, 4])],
        [helper.make_tensor_value_info("y", float32, ["N", 1024, 4, 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def test_a_real_engine_on_a_real_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "convolution.onnx"
    _write_convolution(path)
    artifact = load_artifact(path)
    record = measure(artifact, backend="cpu", options=OpenOptions(threads=1, arena=False), plan=PLAN)
    assert (record.status, record.reason) == ("ok", None)
    assert record.runtime is not None
    assert (record.runtime.engine, record.runtime.threads) == ("onnxruntime", 1)
    assert "fallback" not in [reason.code for reason in record.quality.reasons]
    assert (record.subject.input_shape, record.subject.sha256) == ((2, 1024, 4, 4), artifact.sha256)
    medians = {metric.name: metric.median for metric in record.metrics}
    assert 0 < medians["latency"] < medians["load"]
    if sys.platform == "linux":
        assert medians["memory_added"] > 4_000_000  # the weights at least


@pytest.mark.slow
def test_a_damaged_file_is_the_engines_error_in_words(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    artifact = replace(_artifact(), path=path)
    with pytest.raises(BadInput, match=r"onnxruntime cannot load .*broken\.onnx"):
        measure(artifact, backend="cpu", plan=PLAN)


_LONG = """
import sys
from pathlib import Path
from edgecnn.bench import make_plan, measure
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
spec = ModelSpec(network="n", inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),), outputs=())
artifact = Artifact(path=Path("n.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)
print("ready", flush=True)
try:
    measure(artifact, backend="null", options=OpenOptions(engine={"delay_us": 1000}), plan=make_plan(seconds=60))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker through /proc")
@pytest.mark.parametrize("presses", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_ctrl_c_leaves_no_worker_behind(presses: int) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _LONG], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline() == "ready\n"
        end = time.perf_counter() + 20
        while not (workers := _children(parent.pid)):
            assert time.perf_counter() < end
            time.sleep(0.02)
        time.sleep(0.3)
        for _ in range(presses):
            parent.send_signal(signal.SIGINT)
            time.sleep(0.02)
        parent.wait(timeout=20)
        if presses == 1:
            assert output.read() == "interrupted\n"
    for worker in workers:
        assert not Path(f"/proc/{worker}").exists()


@pytest.mark.parametrize(("asked", "promised"), [(None, 2), (8, 8)])
def test_the_session_is_promised_the_plans_batch(asked: int | None, promised: int, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    keep = f"import sys, pathlib; pathlib.Path({str(job)!r}).write_bytes(sys.stdin.buffer.readline())"
    options = OpenOptions(max_batch=asked)
    record = measure(_artifact(), backend="null", options=options, plan=PLAN, command=(sys.executable, "-c", keep))
    assert record.status == "failed"
    assert decode_request(job.read_bytes(), {"load": Job})[1].options.max_batch == promised


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a peak that can be set back")
def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    """A run of microseconds: hundreds of thousands of samples are megabytes, if they count."""
    short, long = (
        measure(_artifact(), backend="null", plan=make_plan(seconds=seconds, min_runs=1)) for seconds in (0.3, 6.0)
    )
    few, many = short.metric("memory_peak"), long.metric("memory_peak")
    assert few is not None
    assert many is not None
    assert long.metrics[0].n > 5 * short.metrics[0].n
    kept = 8 * (long.metrics[0].n - short.metrics[0].n)
    # The allocator's own moods are some hundred kilobytes either way; less is never a fault.
    assert many.median < few.median + kept / 4
    assert kept > 4_000_000
