"""The straight line at the command line: export, quantize, predict, bench, and the data that --json gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgecnn.cli.bench as bench_verb
from edgecnn.artifacts import load_artifact
from edgecnn.data import open_dataset
from edgecnn.resultlines import read
from edgecnn.testing.models import TINY, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(TINY, folder / "tiny.onnx")
    return folder


def test_export_writes_one_described_file(run_edgecnn: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run_edgecnn("export", "lenet5", "--json")
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    assert described["path"] == "models/lenet5.onnx"
    assert described["spec"]["params"] == 61_706
    assert described["spec"]["weights"] == "bundled"
    assert described["spec"]["accuracy"][0]["value"] == pytest.approx(0.9116, abs=1e-3)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["lenet5.onnx"]


@pytest.mark.slow
def test_quantize_says_what_it_measured(run_edgecnn: Run, tmp_path: Path, lenet5: Path) -> None:
    shutil.copy(lenet5, tmp_path / "lenet5.onnx")
    done = run_edgecnn("quantize", "lenet5.onnx", "--max-drop", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["fp32"]["images"] == result["int8"]["images"] == 10_000
    assert result["drop_points"] == pytest.approx(100 * (result["fp32"]["value"] - result["int8"]["value"]))
    assert abs(result["drop_points"]) <= 0.5
    assert (tmp_path / "lenet5.int8.onnx").stat().st_size < 0.4 * lenet5.stat().st_size


@pytest.mark.slow
def test_a_bound_that_is_missed_leaves_no_file(run_edgecnn: Run, tmp_path: Path, lenet5: Path) -> None:
    from edgecnn.errors import AccuracyError
    from edgecnn.exporters.quantize import QuantizeConfig
    from edgecnn.exporters.quantize.pipeline import quantize

    data = open_dataset("fashion-mnist")
    black = data.split("calibration").take(50)
    dark = np.asarray(black.images) // 255  # all but black
    black = type(black)("calibration", dark, black.labels, trained=True)
    with pytest.raises(AccuracyError):
        quantize(
            lenet5,
            tmp_path / "bad.onnx",
            calibration=black,
            evaluation=data.split("test").take(500),
            dataset=data.name,
            labels=data.labels,
            config=QuantizeConfig(max_drop=0.5),
        )
    assert list(tmp_path.iterdir()) == []


def test_of_several_models_the_quantized_are_passed_over(run_edgecnn: Run, models: Path) -> None:
    shutil.copy(TINY_INT8, models / "tiny.int8.onnx")
    before = (models / "tiny.int8.onnx").read_bytes()
    done = run_edgecnn("quantize", "models/tiny.int8.onnx", "models/tiny.onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert "models/tiny.int8.onnx is int8 already: passed over" in done.stderr
    assert len(json.loads(done.stdout)) == 1
    assert (models / "tiny.int8.onnx").read_bytes() != before


def test_predict_names_the_classes(run_edgecnn: Run, tmp_path: Path, lenet5: Path) -> None:
    boot = open_dataset("fashion-mnist").split("test").images[0]
    (tmp_path / "boot.pgm").write_bytes(b"P5 28 28 255\n" + boot.tobytes())
    table = run_edgecnn("predict", str(lenet5), "boot.pgm")
    assert table.returncode == 0, table.stderr
    assert "Ankle boot" in table.stdout
    data = json.loads(run_edgecnn("predict", str(lenet5), "boot.pgm", "--top", "2", "--json").stdout)
    assert data[0]["image"] == "boot.pgm"
    assert data[0]["predictions"][0]["label"] == "Ankle boot"
    assert len(data[0]["predictions"]) == 2


@pytest.mark.slow
def test_bench_measures_each_model_and_batch(run_edgecnn: Run, tmp_path: Path, models: Path) -> None:
    shutil.copy(TINY_INT8, models / "tiny.int8.onnx")
    done = run_edgecnn("bench", "--seconds", "0.1", "--batch", "1,3", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    stored = list(read(tmp_path / "results.jsonl"))
    assert [(r.subject.precision, r.plan.batch) for r in stored] == [("fp32", 1), ("fp32", 3), ("int8", 1), ("int8", 3)]
    assert [r["subject"]["sha256"] for r in printed] == [r.subject.sha256 for r in stored]
    for record in stored:
        latency = record.metric("latency")
        assert latency is not None
        assert latency.n == len(latency.samples) >= 30
        assert latency.median == pytest.approx(np.median(latency.samples))
        assert record.subject.input_shape == (record.plan.batch, 1, 8, 8)
        assert record.runtime is not None
        assert record.runtime.threads == 1


def test_bench_prints_a_table_that_names_the_machine(run_edgecnn: Run, models: Path) -> None:
    done = run_edgecnn("bench", "--seconds", "0.05", "--backend", "null", "-o", "other.jsonl")
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout
    assert "n/a: random weights have no accuracy" in done.stdout
    assert "8x8x1" in done.stdout
    assert " core" in done.stdout
    assert (models.parent / "other.jsonl").is_file()


@pytest.mark.slow
def test_bench_makes_the_mobilenet_when_there_is_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    made = bench_verb.find_models(Path("models"))
    assert [path.name for path in made] == ["mobilenet_v1_0.25_32.onnx", "mobilenet_v1_0.25_32.int8.onnx"]
    fp32, int8 = (load_artifact(path) for path in made)
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    accuracy = {one.precision: one.value for one in int8.spec.accuracy}
    assert accuracy["fp32"] >= 0.92
    assert accuracy["int8"] >= accuracy["fp32"] - 0.005
    assert [step.tool for step in int8.lineage] == ["edgecnn export", "edgecnn quantize"]


def test_an_unavailable_backend_is_said_before_anything_is_made(run_edgecnn: Run, tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an NVIDIA driver")
    for backend, reason in {
        "cuda": "onnxruntime",
        "ort-trt": "onnxruntime",
        "trt": "driver",
        "ort:xnnpack": "Xnnpack",
    }.items():
        done = run_edgecnn("bench", "--backend", backend)
        assert done.returncode == 4
        assert done.stdout == ""
        assert reason in done.stderr
        assert "hint: " in done.stderr
    done = run_edgecnn("bench", "--backend", "tensorrrt")
    assert done.returncode == 2
    assert "unknown backend 'tensorrrt'" in done.stderr
    assert "trt (unavailable: " in done.stderr
    assert list(tmp_path.iterdir()) == []
