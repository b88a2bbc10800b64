"""`edgecnn tune`: what is refused at once, and the whole way on bundled networks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import edgecnn
from edgecnn.artifacts import file_sha256
from edgecnn.deployment import read_deployment
from edgecnn.testing.models import TINY, TINY_INT8

pytest.importorskip("onnx")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tiny.onnx", "--budget", "latency=5"), 2, "a number and its unit"),
        (("tiny.onnx", "--budget", "speed=5"), 2, "unknown quantity of a budget 'speed'"),
        (("tiny.onnx", "--budget", "drop=1,drop=2"), 2, "limits drop twice"),
        (("tiny.onnx", "--budget", "latency=1us", "--budget", "latency=2us"), 2, "latency twice: 1us and 2us"),
        (
            ("tiny.onnx", "--budget", "latency=1us", "--budget", ""),
            2,
            "expected limits such as latency=5ms, got nothing",
        ),
        (("tiny.onnx", "--budget", "drop=0.5"), 2, "the weights are random"),
        (("mobilenet", "--weights", "random", "--budget", "drop=0.5"), 2, "random weights have no accuracy"),
        (("mobilenet", "--width", "0.5"), 2, "trained weights are of one width"),
        (("tiny.onnx", "--weights", "random"), 2, "has its weights and its form"),
        (("tiny.onnx", "--backend", "nosuch"), 2, "unknown backend 'nosuch'"),
        (("tiny.onnx", "--precision", "int4"), 2, "unknown precision 'int4'"),
        (("tiny.onnx", "--batch", "0"), 2, "at least 1"),
        (("tiny.onnx", "tiny.onnx", "-o", "out"), 2, "2 models were given"),
        (("missing.onnx",), 2, "missing.onnx"),
        (("nosuchnet",), 2, "unknown network 'nosuchnet'"),
    ],
)
def test_what_is_refused_at_once(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    done = run_edgecnn("tune", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]


@pytest.mark.parametrize("model", ["missing.onnx", "nosuchnet"])
def test_no_backend_is_asked_about_a_model_that_is_not_there(
    run_edgecnn: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("edgecnn.cli.tune.this_machine", lambda: asked.append("machine"))
    assert run_edgecnn("tune", model).returncode == 2
    assert asked == []


@pytest.mark.slow
def test_a_tiny_file_all_the_way(run_edgecnn: Run, tmp_path: Path) -> None:
    for path in (TINY, TINY_INT8):
        shutil.copy(path, tmp_path / path.name)
    done = run_edgecnn(
        "tune", TINY.name, TINY_INT8.name, "--backend", "cpu", "--precision", "fp32", "--preset", "shared",
        "--budget", "latency=1s,memory=2GB", "--seconds", "10s",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{TINY_INT8.name} is int8 already: passed over" in done.stderr
    assert "accuracy n/a: " in done.stdout
    assert "energy" not in done.stdout.partition("accuracy n/a: ")[2]
    found = read_deployment(tmp_path / "tuned" / TINY.stem / "deployment.toml")
    assert (found.run.backend, found.run.preset, found.run.threads) == ("cpu", "shared", 1)
    assert found.measured is not None
    assert found.measured.memory_bytes is None or 10e6 < found.measured.memory_bytes < 2e9


@pytest.mark.slow
def test_an_unreachable_budget_is_explained_and_leaves_nothing(run_edgecnn: Run, tmp_path: Path) -> None:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    done = run_edgecnn(
        "tune", "tiny.onnx", "--backend", "cpu", "--precision", "fp32", "--preset", "shared", "--budget", "memory=1MB",
        "--budget", "latency=1s", "--seconds", "10s", "--json",
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert (
        "the budget cannot be held here: closest is tiny on cpu, shared, 1 thread, batch 1, with memory" in done.stderr
    )
    assert re.search(r"this would do, the rest kept: memory=\S+ MB in place of 1\.0 MB", done.stderr)
    (outcome,) = json.loads(done.stdout)
    assert outcome["chosen"] is None
    assert outcome["deployment"] is None
    assert [miss["axis"] for miss in outcome["unreachable"]["missed"]] == ["memory"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet5", "mobilenet"])
def test_a_bundled_network_within_a_drop_and_a_latency(run_edgecnn: Run, tmp_path: Path, network: str) -> None:
    pytest.importorskip("torch")
    done = run_edgecnn("tune", network, "--budget", "drop=0.5,latency=20ms", "--backend", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout)
    figures = outcome["chosen"]["figures"]
    assert figures["drop_points"] <= 0.5
    assert figures["latency_ci95_ns"][1] <= 20e6
    assert figures["energy_mj"] is not None or figures["energy_reason"]
    assert {point["candidate"]["form"]["precision"] for point in outcome["points"]} == {"fp32", "int8"}
    path = tmp_path / outcome["deployment"]
    found = read_deployment(path)
    assert found.artifact.sha256 == file_sha256(path.parent / found.artifact.file)
    assert found.measured is not None
    assert found.measured.drop_points == figures["drop_points"]
    with edgecnn.load(path) as classifier:
        assert classifier.info().backend == found.run.backend
        assert len(classifier.artifact.spec.labels) == 10
