"""Own images at the command line: train, export, quantize, predict; and a training that is interrupted and taken up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.testing.models import TINY
from edgecnn.toml import read_toml

torch = pytest.importorskip("torch")
image_module = pytest.importorskip("PIL.Image")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _duo(root: Path, *, parts: tuple[str, ...] = ("train", "test")) -> Path:
    """Write 12 grayscale PNGs of 28 x 28 pixels for each part: bright above ("sky") or below ("snow"), with noise."""
    rng = np.random.default_rng(0)
    for part in parts:
        for label in ("sky", "snow"):
            (root / part / label).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 60, (28, 28), dtype=np.uint8)
                pixels[:14] += 190 * (label == "sky")
                pixels[14:] += 190 * (label == "snow")
                image_module.fromarray(pixels).save(root / part / label / f"{number}.png")
    return root


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a network only loses by sharing its work out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def duo(tmp_path: Path) -> Path:
    return _duo(tmp_path / "duo")


@pytest.mark.slow
def test_own_images_all_the_way(run_edgecnn: Run, tmp_path: Path, duo: Path) -> None:
    done = run_edgecnn("train", "lenet5", "--data", "duo", "--epochs", "12", "--batch", "4", "--learning-rate", "0.01")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "runs/lenet5/lenet5.safetensors: top-1 100.00% of 12 test images",
        "edgecnn export lenet5 --weights runs/lenet5/lenet5.safetensors",
    ]
    done = run_edgecnn("export", "lenet5", "--weights", "runs/lenet5/lenet5.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    spec = json.loads(done.stdout)["spec"]
    assert (spec["dataset"], spec["labels"], spec["accuracy"]) == ("folder:duo", ["sky", "snow"], [])

    model = "models/lenet5.onnx"
    done = run_edgecnn("quantize", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the model was trained on folder:duo, which cannot be opened by name" in done.stderr
    assert "give --data FOLDER" in done.stderr
    assert not (tmp_path / "models/lenet5.int8.onnx").exists()
    done = run_edgecnn("quantize", model, "--data", "duo", "--reduce-range", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["fp32"]["value"], result["fp32"]["dataset"], result["fp32"]["images"]) == (1.0, "folder:duo", 12)
    options = load_artifact(tmp_path / "models/lenet5.int8.onnx").lineage[-1].options
    assert (options["calibration_dataset"], options["reduce_range"]) == ("folder:duo", True)

    done = run_edgecnn("predict", "models/lenet5.int8.onnx", "duo/test/snow/0.png", "duo/test/sky/0.png", "--json")
    assert done.returncode == 0, done.stderr
    assert [answer["predictions"][0]["label"] for answer in json.loads(done.stdout)] == ["snow", "sky"]


@pytest.mark.parametrize("parts", [("train", "test"), ("",)], ids=["parts", "flat"])
def test_test_images_do_not_calibrate(run_edgecnn: Run, tmp_path: Path, parts: tuple[str, ...]) -> None:
    _duo(tmp_path / "duo", parts=parts)
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    calibration = "duo/test" if len(parts) > 1 else "duo"
    done = run_edgecnn("quantize", "tiny.onnx", "--data", "duo", "--calibration", calibration)
    assert (done.returncode, done.stdout) == (2, "")
    assert "12 images would serve calibration and evaluation both" in done.stderr
    assert "sky/0.png" in done.stderr
    assert not (tmp_path / "tiny.int8.onnx").exists()


def test_what_was_done_before_a_failure_is_told(run_edgecnn: Run, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(TINY, tmp_path / name)
    (tmp_path / "b.int8.onnx").mkdir()
    done = run_edgecnn("quantize", "a.onnx", "b.onnx")
    assert done.returncode == 2, done.stderr
    assert "b.int8.onnx" in done.stderr
    assert "a.int8.onnx" in done.stdout
    done = run_edgecnn("quantize", "a.onnx", "b.onnx", "--json")
    assert done.returncode == 2, done.stderr
    assert [result["artifact"]["path"] for result in json.loads(done.stdout)] == ["a.int8.onnx"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        # The option arrived: the bundled weights are of another width.
        (("mobilenet", "-O", "width=0.5"), "not of mobilenet_v1 with width 0.5"),
        (("resnet50", "--weights", "random", "-O", "stride_in=2x2"), "expected 3x3 or 1x1"),
        (("resnet50", "--weights", "random", "-O", "stride_in"), "expected NAME=VALUE"),
        (("resnet50", "--weights", "random", "--classes", "2", "-O", "classes=3"), "give --classes once"),
        (("resnet50", "--weights", "random", "-O", "weights=x"), "unknown option of resnet50 'weights'"),
    ],
)
def test_options_of_a_network(run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run_edgecnn("export", *arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_images_decide_classes_and_channels(run_edgecnn: Run, tmp_path: Path, duo: Path) -> None:
    done = run_edgecnn("train", "lenet5", "--data", "duo", "-O", "classes=3")
    assert done.returncode == 2
    assert "classes were given" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["duo"]


@pytest.mark.slow
def test_an_interrupted_training_is_taken_up(run_edgecnn: Run, tmp_path: Path, duo: Path) -> None:
    arguments = ("train", "lenet5", "--data", "duo", "--epochs", "60", "--batch", "4", "--learning-rate", "0.01")
    checkpoint = tmp_path / "runs" / "lenet5" / "checkpoint.pt"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgecnn", *arguments],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert out == ""
    assert "Traceback" not in error
    assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint.pt"]
    finished = len(torch.load(checkpoint, weights_only=True)["curve"])
    assert 1 <= finished < 60

    other = run_edgecnn(*arguments, "--seed", "5", "--resume")
    assert other.returncode == 2
    assert "was written with another recipe" in other.stderr
    done = run_edgecnn(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    log = read_toml(checkpoint.with_name("lenet5.toml"))
    assert [epoch["epoch"] for epoch in log["training"]["curve"]] == list(range(1, 61))
    assert log["result"]["dataset"] == "folder:duo"
