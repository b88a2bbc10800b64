from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.bench import Progress, make_plan
from edgecnn.bench.session import Interrupted, Outcome, failure, own_batch, requests_for, results_path, run_session
from edgecnn.errors import BadInput, MeasurementError, ResultsError, RuntimeUnavailable
from edgecnn.resultlines import read
from edgecnn.results import Quality, Reason, Record
from edgecnn.runtimes.base import OpenOptions
from edgecnn.specs import Artifact
from edgecnn.testing.models import TINY

PLAN = make_plan(seconds=0.05, min_runs=5)


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Artifact]:
    return [load_artifact(Path(shutil.copy(TINY, tmp_path / name))) for name in ("a.onnx", "b.onnx")]


def _null(artifact: Artifact, options: OpenOptions, batch: int) -> str:
    return "null"


@pytest.mark.slow
def test_every_model_and_batch_is_a_record_on_the_disk(artifacts: list[Artifact], tmp_path: Path) -> None:
    requests = requests_for(artifacts, PLAN, OpenOptions(), batches=(1, 3))
    outcome = run_session(requests, tmp_path / "r.jsonl", choose=_null)
    assert (outcome.errors, outcome.written) == ((), 4)
    assert [(one.subject.file, one.plan.batch) for one in outcome.records] == [
        ("a.onnx", 1),
        ("a.onnx", 3),
        ("b.onnx", 1),
        ("b.onnx", 3),
    ]
    assert list(read(tmp_path / "r.jsonl")) == list(outcome.records)


@pytest.mark.slow
def test_no_backend_for_one_model_does_not_stop_the_others(artifacts: list[Artifact], tmp_path: Path) -> None:
    def choose(artifact: Artifact, options: OpenOptions, batch: int) -> str:
        if artifact.path.name == "a.onnx":
            raise RuntimeUnavailable("nothing runs it", "buy one")
        return "null"

    outcome = run_session(requests_for(artifacts, PLAN, OpenOptions()), tmp_path / "r.jsonl", choose=choose)
    assert [one.status for one in outcome.records] == ["failed", "ok"]
    assert outcome.records[0].reason == "nothing runs it"
    assert isinstance(failure(outcome), RuntimeUnavailable)


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_said_once(artifacts: list[Artifact], tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").mkdir()
    outcome = run_session(requests_for(artifacts, PLAN, OpenOptions()), tmp_path / "r.jsonl", choose=_null)
    assert [type(error) for error in outcome.errors] == [ResultsError]
    assert outcome.written == 0
    assert [one.status for one in outcome.records] == ["ok", "ok"]


def test_ctrl_c_carries_what_was_measured(artifacts: list[Artifact], tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run_session(requests_for(artifacts, PLAN, OpenOptions()), tmp_path / "r.jsonl", choose=_null, on_progress=stop)
    outcome = caught.value.outcome
    assert (outcome.written, len(outcome.records)) == (2, 2)
    assert list(read(tmp_path / "r.jsonl")) == list(outcome.records)
    assert all("interrupted" in [reason.code for reason in one.quality.reasons] for one in outcome.records)


def test_a_file_of_a_fixed_batch_is_measured_with_it(artifacts: list[Artifact]) -> None:
    artifact = artifacts[0]
    (one,) = artifact.spec.inputs
    fixed = replace(artifact, spec=replace(artifact.spec, inputs=(replace(one, shape=(4, *one.shape[1:])),)))
    assert (own_batch(artifact), own_batch(fixed)) == (1, 4)
    assert own_batch(artifact, make_plan(scenario="multi-stream")) == 8


def test_results_are_appended_to_results_only() -> None:
    assert results_path(None) == Path("results.jsonl")
    with pytest.raises(BadInput, match=r"\.jsonl"):
        results_path(Path("model.onnx"))


def _judged(record: Record, verdict: str) -> Record:
    reason = Reason(code="load", severity="suspect", message="others work", advice="stop them")
    return replace(record, quality=Quality(verdict=verdict, reasons=() if verdict == "valid" else (reason,)))  # type: ignore[arg-type]


def test_strict_is_about_what_is_not_valid(artifacts: list[Artifact], tmp_path: Path) -> None:
    outcome = run_session(requests_for(artifacts[:1], PLAN, OpenOptions()), tmp_path / "r.jsonl", choose=_null)
    good, bad = (
        Outcome(records=tuple(_judged(one, verdict) for one in outcome.records * 2), errors=(), written=2)
        for verdict in ("valid", "suspect")
    )
    assert failure(good, strict=True) is None
    assert failure(bad) is None
    error = failure(bad, strict=True)
    assert isinstance(error, MeasurementError)
    assert error.exit_code == 7
    assert (error.message.partition(";")[0], error.hint) == ("2 of 2 measurements are not valid", "stop them")


@pytest.mark.parametrize("scenario", [None, "single-stream"])
def test_ctrl_c_before_the_first_block_has_ended_says_what_was_not_measured(
    artifacts: list[Artifact], tmp_path: Path, scenario: str | None
) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    plan = replace(PLAN, scenario=scenario)
    with pytest.raises(Interrupted) as caught:
        run_session(requests_for(artifacts, plan, OpenOptions()), tmp_path / "r.jsonl", choose=_null, on_progress=stop)
    outcome = caught.value.outcome
    assert (outcome.records, outcome.written) == ((), 0)
    assert [(one.subject.file, one.status, one.metrics) for one in outcome.unmeasured] == [
        ("a.onnx", "skipped", ()),
        ("b.onnx", "skipped", ()),
    ]
    ended = "its queries" if scenario else "its first block of timed runs"
    assert {one.reason for one in outcome.unmeasured} == {f"interrupted before {ended} had ended"}
    assert not (tmp_path / "r.jsonl").exists()


def test_ctrl_c_while_a_backend_is_chosen_tells_the_rest_apart(artifacts: list[Artifact], tmp_path: Path) -> None:
    def choose(artifact: Artifact, options: OpenOptions, batch: int) -> str:
        if artifact.path.name == "a.onnx":
            raise RuntimeUnavailable("nothing runs it", "buy one")
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        run_session(requests_for(artifacts, PLAN, OpenOptions(), batches=(1, 2)), tmp_path / "r.jsonl", choose=choose)
    outcome = caught.value.outcome
    assert [(one.subject.file, one.plan.batch, one.status) for one in (*outcome.records, *outcome.unmeasured)] == [
        ("a.onnx", 1, "failed"),
        ("a.onnx", 2, "failed"),
        ("b.onnx", 1, "skipped"),
        ("b.onnx", 2, "skipped"),
    ]
    assert list(read(tmp_path / "r.jsonl")) == list(outcome.records)
