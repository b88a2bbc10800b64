"""All of a tuning but the clock: files are made, what is chosen is written, and nothing where nothing fits."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.cli.tune_tables import warnings
from edgecnn.data.choice import ChosenImages, choose_images
from edgecnn.deployment import read_deployment
from edgecnn.errors import BadInput, Contradiction, MeasurementError, SensorUnavailable, UnavailableError
from edgecnn.results import Quality, Reason
from edgecnn.runtimes.states import BackendState
from edgecnn.specs import Accuracy, Artifact
from edgecnn.testing.fakes import FakeClock
from edgecnn.testing.models import TINY, TINY_INT8
from edgecnn.testing.records import ACCURACY
from edgecnn.testing.tuning import FakeMeasure
from edgecnn.tune.budget import parse_budget
from edgecnn.tune.candidates import Candidate, FileForm
from edgecnn.tune.files import Files
from edgecnn.tune.run import _known, tune
from edgecnn.tune.search import Deadline
from edgecnn.tune.space import Asked, Machine
from edgecnn.tune.task import Task

pytest.importorskip("onnx")

MACHINE = Machine(arch="x86_64", features=(), threads=2, states=(BackendState(name="cpu", state="ok"),))


def task(folder: Path, budget: str = "", *, source: Path = TINY, **changes: Any) -> Task:
    images: ChosenImages = choose_images(None)
    artifact = load_artifact(source)
    made = Task(
        sources={"tiny": artifact},
        budget=parse_budget(budget),
        output=folder / "out",
        images=images,
        machine=MACHINE,
    )
    return replace(made, **changes)


def int8_is_faster(one: Candidate) -> float:
    return (1e6 if one.form.precision == "int8" else 2e6) / (one.threads or 1)


def test_the_best_form_is_made_and_written(tmp_path: Path) -> None:
    outcome = tune(task(tmp_path, "latency=1ms"), measure=FakeMeasure(int8_is_faster))
    assert outcome.error is None
    assert outcome.chosen is not None
    assert (outcome.chosen.candidate.form.stem, outcome.chosen.candidate.threads) == ("tiny.int8", 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["deployment.toml", "tiny.int8.onnx"]
    assert load_artifact(tmp_path / "out/tiny.int8.onnx").precision == "int8"
    found = read_deployment(tmp_path / "out/deployment.toml")
    assert found.run.threads == 2
    assert found.measured is not None
    assert found.measured.latency_ns == pytest.approx(0.5e6, rel=1e-3)
    assert found.measured.accuracy is None
    assert found.measured.accuracy_reason == outcome.accuracy_reason != ""
    assert found.measured.energy_reason == outcome.energy_reason != ""
    assert found.made is not None
    assert parse_budget(found.made.budget) == parse_budget("latency=1ms")
    with edgecnn.load(tmp_path / "out/deployment.toml") as classifier:
        assert classifier.artifact.precision == "int8"
        assert classifier.info().threads == 2


def test_an_unreachable_budget_writes_nothing(tmp_path: Path) -> None:
    outcome = tune(task(tmp_path, "latency=1us"), measure=FakeMeasure(int8_is_faster))
    assert isinstance(outcome.error, UnavailableError)
    assert outcome.error.exit_code == 4
    assert "tiny.int8 on cpu" in outcome.error.message
    assert "times off 1.00 us" in outcome.error.message
    assert "in place of 1.00 us" in outcome.error.hint
    assert outcome.deployment is None
    assert not (tmp_path / "out").exists()


def test_an_older_deployment_stays_where_nothing_fits_now(tmp_path: Path) -> None:
    tune(task(tmp_path), measure=FakeMeasure(int8_is_faster))
    before = (tmp_path / "out/deployment.toml").read_bytes()
    tune(task(tmp_path, "latency=1us"), measure=FakeMeasure(int8_is_faster))
    assert (tmp_path / "out/deployment.toml").read_bytes() == before
    again = tune(task(tmp_path, "latency=1s"), measure=FakeMeasure(int8_is_faster))
    assert again.deployment is not None
    assert (tmp_path / "out/deployment.toml").read_bytes() != before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("ten years of work")
    with pytest.raises(BadInput, match="other files"):
        tune(task(tmp_path), measure=FakeMeasure(int8_is_faster))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_budgets_that_contradict_what_can_be_known(tmp_path: Path) -> None:
    measure = FakeMeasure(int8_is_faster)
    with pytest.raises(Contradiction, match=r"drop to 0\.5 points, and accuracy cannot be measured"):
        tune(task(tmp_path, "drop=0.5"), measure=measure)
    with pytest.raises(Contradiction, match="--prefer accuracy"):
        tune(task(tmp_path, prefer="accuracy"), measure=measure)
    with pytest.raises(Contradiction, match="is int8"):
        tune(task(tmp_path, source=TINY_INT8, asked=Asked(precisions=("fp32",))), measure=measure)
    assert measure.calls == []


def test_energy_without_a_sensor_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    from edgecnn.devices.sensors.catalog import find_meters

    if find_meters().meters:
        pytest.skip("this machine has a sensor")
    measure = FakeMeasure(int8_is_faster)
    with pytest.raises(SensorUnavailable):
        tune(task(tmp_path, "energy=20mJ"), measure=measure)
    assert measure.calls == []


def test_a_form_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "tiny.onnx"
    shutil.copy(TINY, broken)
    given = task(tmp_path, source=broken)
    images = replace(given.images, calibration=replace(given.images.calibration, trained=False))
    outcome = tune(replace(given, images=images), measure=FakeMeasure(int8_is_faster))
    assert outcome.chosen is not None
    assert outcome.chosen.candidate.form.precision == "fp32"
    assert [one.what for one in outcome.left_out] == ["tiny.int8"]
    assert "accuracy is measured on" in outcome.left_out[0].reason


def test_a_quantized_source_is_taken_as_it_is(tmp_path: Path) -> None:
    outcome = tune(task(tmp_path, source=TINY_INT8), measure=FakeMeasure(int8_is_faster))
    assert outcome.chosen is not None
    assert outcome.deployment is not None
    assert load_artifact(tmp_path / "out" / TINY_INT8.name).sha256 == load_artifact(TINY_INT8).sha256


def test_where_all_measurements_fail_that_is_the_error(tmp_path: Path) -> None:
    outcome = tune(task(tmp_path), measure=FakeMeasure(int8_is_faster, fails=lambda one: True))
    assert isinstance(outcome.error, MeasurementError)
    assert "the worker died" in outcome.error.message
    assert not (tmp_path / "out").exists()


def test_strict_writes_nothing_that_was_not_validly_measured(tmp_path: Path) -> None:
    class Doubtful(FakeMeasure):
        def __call__(self, candidates, seconds, counts):  # type: ignore[no-untyped-def]
            from edgecnn.testing.records import made_record

            reason = replace(made_record(verdict="suspect").quality.reasons[0], advice="stop them")
            doubt = Quality(verdict="suspect", reasons=(reason,))
            return [replace(record, quality=doubt) for record in super().__call__(candidates, seconds, counts)]

    outcome = tune(task(tmp_path, strict=True), measure=Doubtful(int8_is_faster))
    assert isinstance(outcome.error, MeasurementError)
    assert "others were busy; nothing was written" in outcome.error.message
    assert not (tmp_path / "out").exists()
    written = tune(task(tmp_path), measure=Doubtful(int8_is_faster))
    assert written.deployment is not None
    head, why, last = warnings([written])
    assert head == "warning: tiny: the measurement that the choice rests on is suspect:"
    assert why == "  others were busy; stop them"
    assert last.startswith(f"  {written.deployment} was written all the same")
    assert "invalid" not in written.why


def test_a_choice_by_an_invalid_measurement_says_so(tmp_path: Path) -> None:
    class Void(FakeMeasure):
        def __call__(self, candidates, seconds, counts):  # type: ignore[no-untyped-def]
            doubt = Quality(verdict="invalid", reasons=(Reason(code="load", severity="invalid", message="busy"),))
            return [replace(record, quality=doubt) for record in super().__call__(candidates, seconds, counts)]

    outcome = tune(task(tmp_path, "latency=1s"), measure=Void(int8_is_faster))
    assert outcome.error is None
    assert outcome.why == "the fastest of those that hold the budget; its measurement is invalid"
    assert [line.strip() for line in warnings([outcome])][1] == "busy"
    assert warnings([tune(task(tmp_path), measure=FakeMeasure(int8_is_faster))]) == []


@pytest.mark.slow
def test_of_random_variants_the_largest_that_fits_is_taken(tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    for path in (small, large):
        shutil.copy(TINY, path)
    artifacts = {path.stem: load_artifact(path) for path in (large, small)}
    macs = {"large": 400_000_000, "small": 100_000_000}
    sources = {
        name: replace(one, spec=replace(one.spec, weights="random", macs=macs[name])) for name, one in artifacts.items()
    }

    class Sized(FakeMeasure):
        def __call__(self, candidates, seconds, counts):  # type: ignore[no-untyped-def]
            records = super().__call__(candidates, seconds, counts)
            return [
                replace(record, subject=replace(record.subject, macs=macs[one.form.variant]))
                for one, record in zip(candidates, records, strict=True)
            ]

    def latency(one: Candidate) -> float:
        return macs[one.form.variant] / 100 * (0.5 if one.form.precision == "int8" else 1.0)

    def taken(budget: str) -> str:
        given = replace(task(tmp_path, budget), sources=sources)
        outcome = tune(given, measure=Sized(latency))
        assert outcome.prefer == "macs"
        return outcome.chosen.candidate.form.stem if outcome.chosen else ""

    assert taken("latency=10ms") == "large.int8"
    assert taken("latency=2.5ms") == "large.int8"
    assert taken("latency=1.5ms") == "small.int8"
    assert taken("latency=1us") == ""


@pytest.mark.slow
def test_a_board_without_the_exporters_times_what_it_has(tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("onnx", "onnx_ir", "torch"):
    sys.modules[name] = None
from dataclasses import replace
from pathlib import Path
from edgecnn.artifacts import load_artifact
from edgecnn.data.choice import choose_images
from edgecnn.runtimes.states import BackendState
from edgecnn.testing.fakes import FakeClock
from edgecnn.testing.models import TINY
from edgecnn.testing.tuning import FakeMeasure
from edgecnn.tune.budget import Budget
from edgecnn.tune.space import Machine
from edgecnn.tune.run import _known, tune
from edgecnn.tune.task import Task
given = load_artifact(TINY)
sources = {{"tiny": replace(given, spec=replace(given.spec, weights="bundled"))}}
machine = Machine(arch="x86_64", features=(), threads=2, states=(BackendState(name="cpu", state="ok"),))
images = choose_images("fashion-mnist")
task = Task(sources=sources, budget=Budget(), output=Path({str(tmp_path / "out")!r}), images=images, machine=machine)
outcome = tune(task, measure=FakeMeasure(lambda one: 1e6))
print(outcome.chosen.candidate.form.stem, outcome.accuracy_reason, outcome.left_out[0].reason, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stem, accuracy, left_out = done.stdout.strip().split("|")
    assert stem == "tiny"
    # Accuracy is measured without those packages: that it is not has another reason here.
    assert accuracy == "the model was trained on other classes"
    assert left_out.startswith("a file in int8 needs the package onnx")
    assert left_out.endswith("pip install 'edgecnn[export]'")


def test_what_time_was_lacking_for_is_said(tmp_path: Path) -> None:
    clock = FakeClock(step_ns=10**9)
    given = task(tmp_path, asked=Asked(precisions=("fp32", "int8")), seconds=2.0)
    outcome = tune(given, measure=FakeMeasure(int8_is_faster), deadline=Deadline(2.0, now_ns=clock.now_ns))
    assert outcome.chosen is not None
    assert {one.reason for one in outcome.left_out} <= {
        "out of time before it was made",
        "out of time before it was measured",
        "out of time before its accuracy was measured",
    }
    assert outcome.left_out


class StatedAccuracies(Files):
    """Files whose top-1 is that of their precision."""

    def accuracy(self, file: Artifact, backend: str) -> Accuracy | None:
        value = {"fp32": 0.9, "int8": 0.89}[file.precision]
        return replace(ACCURACY, value=value, precision=file.precision, backend=backend)


def test_a_drop_is_told_of_the_source_where_fp32_itself_is_not_tried(tmp_path: Path) -> None:
    given = task(tmp_path, "drop=0.5", asked=Asked(precisions=("int8",)))
    form = FileForm(variant="tiny", precision="int8", target="cpu-x86")
    files = StatedAccuracies(images=given.images, folder=tmp_path)
    one = Candidate(form=form, backend="cpu")
    known, left_out = _known(given, [one], files, {form: load_artifact(TINY_INT8)}, lambda: True)
    assert left_out == []
    reference = known[one].reference
    assert reference is not None
    assert (reference.value, reference.precision) == (0.9, "fp32")


def test_no_sensor_wanted_contradicts_a_limit_of_energy(tmp_path: Path) -> None:
    measure = FakeMeasure(int8_is_faster)
    with pytest.raises(Contradiction, match="--power none, and energy is limited"):
        tune(task(tmp_path, "energy=1mJ", power="none"), measure=measure)
    assert measure.calls == []
    assert "not asked for" in tune(task(tmp_path, power="none"), measure=measure).energy_reason
