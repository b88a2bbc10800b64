from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecnn import resultlines, results
from edgecnn.bench import Job, Progress, further, make_job, make_plan, measure_interleaved
from edgecnn.bench.interleave import measure_jobs, needed_bytes, too_large
from edgecnn.bench.interrupts import undisturbed
from edgecnn.bench.running import Result
from edgecnn.errors import BadInput
from edgecnn.resultlines import read
from edgecnn.results import Record
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
from edgecnn.testing.fakes import write_tree

PLAN = make_plan(seconds=0.1, min_runs=20)


def _artifact(name: str, *, size_bytes: int = 1, shape: tuple[int | str, ...] = ("N", 3)) -> Artifact:
    spec = ModelSpec(
        network=name,
        inputs=(TensorSpec(name="x", dtype="float32", shape=shape),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 2)),),
    )
    return Artifact(
        path=Path(f"{name}.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=size_bytes, spec=spec
    )


def _job(name: str, *, delay_us: float = 500, **changes: Any) -> Job:
    options = OpenOptions(engine={"delay_us": delay_us})
    return make_job(_artifact(name), backend="null", options=options, **{"plan": PLAN, **changes})


# A worker that, for models of certain names, does what workers should not.
_ODD = """
import os, sys, time
import edgecnn.bench.worker as worker
block = worker.Worker.block
counts = 0
def odd(self, asked):
    global counts
    counts += 1
    name = self._job.artifact.spec.network
    if counts == 3 and name == "dies":
        sys.stderr.write("out of luck\\n"); sys.stderr.flush(); os.kill(os.getpid(), 9)
    if counts == 3 and name == "raves":
        os.write(REAL, b"loading 12%...\\n"); time.sleep(60)
    log = os.environ.get("EDGECNN_TEST_LOG")
    if log:
        with open(log, "a") as file:
            file.write(name + "\\n")
    return block(self, asked)
REAL = os.dup(1)
def ruins(self, asked):
    sys.stderr.write("brown-out\\n"); sys.stderr.flush(); os.kill(os.getpid(), 9)
if os.environ.get("EDGECNN_TEST_POWER"):
    worker.Worker.power = ruins
worker.Worker.block = odd
worker.main()
"""
ODD = (sys.executable, "-c", _ODD)


def _latency(record: Record) -> results.Metric:
    latency = record.metric("latency")
    assert latency is not None
    return latency


def test_every_subject_has_one_block_in_every_round() -> None:
    records = measure_interleaved([_job("a", delay_us=300), _job("b", delay_us=600), _job("c")], rounds=4)
    assert [record.subject.network for record in records] == ["a", "b", "c"]
    for record in records:
        latency = _latency(record)
        assert record.status == "ok"
        assert len(latency.blocks) == 4
        assert sum(latency.blocks) == latency.n == len(latency.samples) >= 20
        assert resultlines.loads(resultlines.dumps(record)) == record
    assert _latency(records[1]).median > 1.5 * _latency(records[0]).median
    assert len({record.provenance.group for record in records}) == 1
    assert records[0].provenance.group is not None


@pytest.mark.slow
def test_every_other_round_runs_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_TEST_LOG", str(tmp_path / "log"))
    measure_interleaved([_job("a"), _job("b"), _job("c")], rounds=4, command=ODD)
    assert (tmp_path / "log").read_text().split() == list("abccbabcaacb")


def test_builds_of_one_network_go_on_until_their_ratio_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further, "SURE_ENOUGH", -1.0)
    seen: list[Progress] = []
    unsure = measure_interleaved([_job("a"), _job("b"), _job("a")], on_progress=seen.append)
    blocks = [len(_latency(record).blocks) for record in unsure]
    assert blocks[1] >= 10
    assert blocks[0] == blocks[2] == 2 * blocks[1]
    assert seen[-1].done == seen[-1].total == sum(blocks) + 3
    monkeypatch.setattr(further, "SURE_ENOUGH", 10.0)
    sure = measure_interleaved([_job("a"), _job("a")])
    assert [len(_latency(record).blocks) for record in sure] == [blocks[1]] * 2


def test_rounds_that_were_asked_for_are_all_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further, "SURE_ENOUGH", -1.0)
    records = measure_interleaved([_job("a"), _job("a")], rounds=3)
    assert [len(_latency(record).blocks) for record in records] == [3, 3]


@pytest.mark.slow
def test_one_subject_alone_has_blocks_and_no_group() -> None:
    (record,) = measure_interleaved([_artifact("a")], backend="null", options=OpenOptions(), plan=PLAN)
    assert record.provenance.group is None
    assert len(_latency(record).blocks) >= 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dies", "the worker was killed (SIGKILL), as the kernel does when memory runs out: out of luck"),
        pytest.param("raves", "the worker's answer cannot be read: JSONDecodeError: ", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_fails_in_the_middle_is_recorded_and_the_rest_goes_on(name: str, reason: str) -> None:
    bad, good = measure_interleaved([_job(name), _job("good")], rounds=6, command=ODD)
    assert bad.status == "failed"
    assert bad.reason is not None
    assert bad.reason.startswith(reason)
    assert bad.metrics == ()
    assert good.status == "ok"
    assert len(_latency(good).blocks) == 6


@pytest.mark.slow
def test_what_cannot_be_measured_at_all_is_recorded_with_its_error() -> None:
    jobs = [_job("a"), _job("b", delay_us=-1), make_job(_artifact("c", shape=(3, 3)), backend="null", plan=PLAN)]
    given: list[tuple[int, Result]] = []
    found = measure_jobs(jobs, rounds=2, on_result=lambda place, result: given.append((place, result)))
    assert [one.record.status for one in found] == ["ok", "failed", "failed"]
    assert found[1].error is not None
    assert isinstance(found[2].error, BadInput)
    assert found[2].record.reason == found[2].error.message
    assert [place for place, _ in given] == [1, 2, 0]  # failures at once, the others when they are done


@pytest.mark.slow
def test_all_failing_is_no_endless_wait() -> None:
    records = measure_interleaved(
        [_artifact("a"), _artifact("b")], backend="null", options=OpenOptions(engine={"warp": 9}), plan=PLAN
    )
    assert [record.status for record in records] == ["failed", "failed"]


def test_no_rounds_are_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        measure_interleaved([_job("a")], rounds=0)


@pytest.mark.slow
def test_progress_tells_who_is_where() -> None:
    seen: list[Progress] = []
    measure_interleaved([_job("a"), _job("b", delay_us=-1)], rounds=3, on_progress=seen.append)
    assert [one.state for one in seen[0].standings] == ["waiting", "waiting"]
    assert [one.state for one in seen[-1].standings] == ["measuring", "failed"]
    assert (seen[-1].done, seen[-1].total) == (4, 4)  # three blocks, and what comes after them
    assert seen[-1].standings[0].runs >= 20
    assert seen[-1].standings[0].median_ns is not None
    assert seen[-1].standings[1].reason


MEMINFO = "MemTotal: 9000000 kB\nMemAvailable: {} kB\n"


@pytest.mark.slow
@pytest.mark.parametrize(("available_kb", "fits"), [(1_000_000, True), (200_000, False)])
def test_models_that_do_not_fit_together_are_measured_one_after_the_other(
    tmp_path: Path, available_kb: int, fits: bool
) -> None:
    root = write_tree(tmp_path, {"proc/meminfo": MEMINFO.format(available_kb)})
    jobs = [_job("a", root=root), _job("b", root=root)]
    assert bool(too_large(jobs)) != fits
    notes: list[str] = []
    found = measure_jobs(jobs, rounds=2, on_progress=lambda progress: notes.append(progress.note))
    assert [one.record.status for one in found] == ["ok", "ok"]
    assert [one.record.provenance.group is not None for one in found] == [fits, fits]
    said = [note for note in notes if note]
    assert bool(said) != fits
    if not fits:
        assert said[0].startswith("2 models need about 300.0 MB together and 204.8 MB are left")


def test_a_model_needs_more_than_its_file() -> None:
    small, large = (
        needed_bytes(make_job(_artifact("a", size_bytes=size), backend="null", plan=PLAN)) for size in (0, 10_000_000)
    )
    assert large - small == 40_000_000


@pytest.mark.slow
def test_a_sustained_run_has_a_curve_and_is_measured_alone() -> None:
    plan = make_plan(sustain_seconds=1.2, min_runs=1)
    records = measure_interleaved([_job("a", plan=plan), _job("b", plan=plan)])
    for record in records:
        curve = record.metric("sustained")
        assert curve is not None
        assert 50 <= curve.n <= 60
        assert record.provenance.group is None
        assert record.plan.sustain_seconds == 1.2
        for name in ("sustained_first", "sustained_last"):
            end = record.metric(name)
            assert end is not None
            # A tenth of sixty; fewer or more on a machine that is held up elsewhere meanwhile.
            assert 1 <= end.n <= 20
            assert end.median >= 500_000


@pytest.mark.parametrize(
    ("scenario", "qps"),
    [
        pytest.param("single-stream", None, marks=pytest.mark.slow),
        pytest.param("server", 200.0, marks=pytest.mark.slow),
        pytest.param("offline", None, marks=pytest.mark.slow),
    ],
)
def test_scenarios_are_measured_in_the_worker(scenario: str, qps: float | None) -> None:
    bound = 1e9 if scenario == "server" else None
    plan = make_plan(batch=4, seconds=0.3, scenario=scenario, qps=qps, latency_bound_ns=bound)
    (record,) = measure_interleaved([_job("a", plan=plan)])
    assert record.status == "ok", record.reason
    assert record.scenario is not None
    assert record.scenario.title == f"MLPerf-style {scenario}"
    latency, rate = _latency(record), record.metric("throughput")
    assert rate is not None
    assert rate.median == record.scenario.samples_per_second
    assert latency.n == record.scenario.queries
    assert latency.min >= 500_000
    assert (record.scenario.qps, record.scenario.bound_ns) == (qps, bound)
    assert record.scenario.over_bound == (0 if bound else None)
    # About 60 queries: none above the bound, and too few to be sure.
    assert record.scenario.bound_held is None
    padded = [note for note in record.scenario.notes if "padding" in note]
    if scenario == "offline":
        assert not padded
        assert latency.n == 1
        assert record.scenario.seconds == pytest.approx(0.3, rel=0.5)
        assert "too_few_samples" not in [reason.code for reason in record.quality.reasons]
    else:
        assert padded == ["a query of 1 image ran as a batch of 4: 3 of 4 images are padding; measure with --batch 1"]


@pytest.mark.slow
def test_power_without_a_sensor_is_null_with_a_reason(tmp_path: Path) -> None:
    job = replace(_job("a", root=tmp_path), power="rapl")
    (record,) = measure_interleaved([job])
    assert record.power is not None
    assert (record.power.power_w, record.power.reason is not None) == (None, True)
    (unasked,) = measure_interleaved([_job("a")])
    assert unasked.power is not None
    assert unasked.power.reason == "power was not asked for"


@pytest.mark.slow
def test_a_meter_that_there_is_not_costs_no_timed_run(tmp_path: Path) -> None:
    bad, good = measure_interleaved([replace(_job("a", root=tmp_path), power="hwmon:ina9"), _job("b")], rounds=4)
    assert (bad.status, good.status) == ("ok", "ok")
    assert len(_latency(bad).blocks) == 4
    assert bad.power is not None
    assert "hwmon" in (bad.power.reason or "")


@pytest.mark.slow
def test_a_worker_that_dies_while_power_is_measured_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECNN_TEST_POWER", "1")
    bad, good = measure_interleaved([replace(_job("a"), power="auto"), _job("b")], rounds=4, command=ODD)
    assert (bad.status, good.status) == ("ok", "ok")
    assert bad.power is not None
    assert bad.power.power_w is None
    assert (bad.power.reason or "").endswith("brown-out")


_INTERRUPTED = """
import os, signal
from pathlib import Path
from edgecnn.bench import *
from edgecnn.resultlines import append
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact, ModelSpec, TensorSpec
spec = ModelSpec(network="n", inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),), outputs=())
artifact = Artifact(path=Path("n.onnx"), format="onnx", precision="fp32", sha256="0", size_bytes=1, spec=spec)
def stop(progress):
    if progress.done == 8:
        os.kill(os.getpid(), signal.SIGINT)
try:
    measure_interleaved(
        [artifact, artifact], backend="null", options=OpenOptions(engine={"delay_us": 1000}), plan=make_plan(seconds=2),
        on_progress=stop, on_record=lambda record: append(Path("kept.jsonl"), [record]),
    )
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="has no Ctrl-C")
def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "interrupted\n"
    kept = list(read(tmp_path / "kept.jsonl"))
    assert [record.status for record in kept] == ["ok", "ok"]
    for record in kept:
        assert len(_latency(record).blocks) == 4
        assert "interrupted" in [reason.code for reason in record.quality.reasons]
        assert record.quality.verdict != "valid"
        message = next(reason.message for reason in record.quality.reasons if reason.code == "interrupted")
        assert message.startswith("stopped after 8 of 4")


def test_ctrl_c_once_more_loses_nothing() -> None:
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_equal_subjects_in_turn_have_equal_times() -> None:
    """Blocks of the same round under the same conditions: their ratio is nearer to one than noise between rounds."""
    old, new = measure_interleaved([_job("a", plan=make_plan(seconds=1)), _job("b", plan=make_plan(seconds=1))])

    def by_round(record: Record) -> np.ndarray:
        latency = _latency(record)
        return np.array(
            [np.median(part) for part in np.split(np.array(latency.samples), np.cumsum(latency.blocks)[:-1])]
        )

    assert np.median(by_round(new) / by_round(old)) == pytest.approx(1, abs=0.03)
