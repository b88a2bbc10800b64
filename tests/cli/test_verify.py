"""`edgecnn verify`: what it prints, and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgecnn.testing.models import TINY, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def alter(source: Path, target: Path, amount: float) -> Path:
    """Write a file whose first logit is off, and which says of itself what the source says."""
    model = onnx.load(source)
    name = model.graph.node[-1].input[2]
    (bias,) = [value for value in model.graph.initializer if value.name == name]
    changed = onnx.numpy_helper.to_array(bias).copy()
    changed[0] += np.float32(amount)
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, name))
    onnx.save(model, target)
    return target


@pytest.mark.slow
def test_the_bundled_lenet_is_what_file_and_zoo_say(run_edgecnn: Run, lenet5: Path) -> None:
    done = run_edgecnn("verify", str(lenet5), "--data", "fashion-mnist", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    accuracy = result["accuracy"]
    assert (result["verdict"], accuracy["verdict"], result["parity"]) == ("ok", "ok", None)
    assert accuracy["measured"]["value"] == pytest.approx(0.9116, abs=1e-3)
    assert accuracy["measured"]["images"] == 10_000
    assert [figure["source"] for figure in accuracy["figures"]] == ["file", "registry"]
    assert abs(accuracy["difference_points"]) <= 0.1


@pytest.mark.slow
def test_an_altered_file_fails_with_its_figures_printed(run_edgecnn: Run, lenet5: Path, tmp_path: Path) -> None:
    alter(lenet5, tmp_path / "altered.onnx", 1.0)
    done = run_edgecnn("verify", "altered.onnx", str(lenet5), "--json")
    assert done.returncode == 5
    altered, good = json.loads(done.stdout)
    assert [altered["verdict"], good["verdict"]] == ["fail", "ok"]
    assert altered["accuracy"]["difference_points"] < -0.1
    assert "altered.onnx by -" in done.stderr
    assert "Traceback" not in done.stderr


def test_against_torch_and_against_the_file(run_edgecnn: Run, lenet5: Path, tmp_path: Path) -> None:
    done = run_edgecnn("verify", str(lenet5), "--against", "torch", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["accuracy"], result["parity"]["verdict"], result["parity"]["inputs"]) == (None, "ok", "random")
    assert 0 <= result["parity"]["difference"]["max"] < 1e-4

    alter(lenet5, tmp_path / "altered.onnx", 0.01)
    done = run_edgecnn("verify", "altered.onnx", "--against", str(lenet5))
    assert done.returncode == 5
    assert "altered.onnx" in done.stdout
    assert "fail" in done.stdout
    assert "differ by" in done.stderr
    done = run_edgecnn("verify", "altered.onnx", "--against", str(lenet5), "--tolerance", "0.1")
    assert done.returncode == 0, done.stderr


def test_a_table_says_why_accuracy_does_not_apply(run_edgecnn: Run, tmp_path: Path) -> None:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    shutil.copy(TINY_INT8, tmp_path / "tiny.int8.onnx")
    done = run_edgecnn("verify", "tiny.onnx", "tiny.int8.onnx", "--data", "fashion-mnist")
    assert done.returncode == 0, done.stderr
    assert "tiny.onnx: accuracy not applicable: random weights" in done.stdout
    assert "verdict" in done.stdout


def test_int8_beside_its_float_form(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("verify", str(TINY_INT8), "--against", str(TINY), "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["precision"], result["verdict"]) == ("int8", "reported")
    assert (result["parity"]["tolerance"], result["parity"]["least_sqnr_db"]) == (None, None)
    assert result["parity"]["difference"]["agreement"] > 0.5
    done = run_edgecnn("verify", str(TINY_INT8), "--against", str(TINY))
    assert done.returncode == 0, done.stderr
    assert "outputs not judged: other precisions on random inputs: give --tolerance, or --data" in done.stdout
    done = run_edgecnn("verify", str(TINY_INT8), "--against", str(TINY), "--tolerance", "1e-6")
    assert (done.returncode, "not judged" in done.stdout) == (5, False)


def test_help_says_what_fails(run_edgecnn: Run) -> None:
    done = run_edgecnn("verify", "--help")
    for text in ("more than 0.1 points", "more than 1e-4 of the greatest", "(below 6 dB)", "are not judged"):
        assert text in done.stdout


@pytest.fixture
def two_classes(tmp_path: Path) -> str:
    for label, value in (("black", 0), ("white", 255)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        (folder / "1.pgm").write_bytes(b"P5\n2 2\n255\n" + bytes([value]) * 4)
    return "photos"


def test_what_does_not_fit_is_said_before_anything_runs(
    run_edgecnn: Run, tmp_path: Path, lenet5: Path, two_classes: str
) -> None:
    model = onnx.load(lenet5)
    spec: dict[str, Any] = {}
    for entry in model.metadata_props:
        if entry.key == "edgecnn.spec":
            spec = {**json.loads(entry.value), "dataset": None, "labels": []}
            entry.value = json.dumps(spec)
    onnx.save(model, tmp_path / "unnamed.onnx")
    done = run_edgecnn("verify", str(lenet5), "unnamed.onnx", "--data", two_classes)
    assert (done.returncode, done.stdout) == (2, "")
    assert "classes of unnamed.onnx: expected 2, as folder:photos has, got 10" in done.stderr

    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    done = run_edgecnn("verify", "bare.onnx", "--data", "fashion-mnist")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bare.onnx does not say how an image becomes its input" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("x.onnx",), "x.onnx does not exist"),
        ((str(TINY), "--backend", "null"), "expected one that computes"),
        ((str(TINY), "--tolerance", "0.1"), "--against"),
        ((str(TINY), "--against", "other.onnx"), "other.onnx does not exist"),
        ((str(TINY), "--against", "torch", "--backend", "cpuu"), "unknown backend"),
        ((str(TINY), "--weights", "a.safetensors"), "--against torch"),
    ],
)
def test_wrong_requests(run_edgecnn: Run, arguments: tuple[str, ...], text: str) -> None:
    done = run_edgecnn("verify", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
