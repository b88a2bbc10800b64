"""`edgecnn quantize --precision fp16 | bf16`: its tables, its JSON, and what it refuses."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.testing.models import TINY

pytest.importorskip("onnx")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


@pytest.mark.parametrize("target", ["cpu-arm", "cuda"])
def test_a_table_and_json(run_edgecnn: Run, tiny: Path, tmp_path: Path, target: str) -> None:
    arguments = ("quantize", "tiny.onnx", "--precision", "fp16", "--target", target, "--calibration-images", "16")
    done = run_edgecnn(*arguments)
    assert done.returncode == 0, done.stderr
    assert "fp16 MACs %" in done.stdout
    assert "accuracy not measured: there is no evaluation set" in done.stdout
    path = tmp_path / f"tiny.{target}.fp16.onnx"
    assert load_artifact(path).precision == "fp16"
    assert ("it is run by backend cpu, not that of target cuda" in done.stderr) == (target == "cuda")
    elsewhere = target == "cpu-arm" and platform.machine() not in ("aarch64", "arm64")
    assert ("which computes fp16 in fp32" in done.stderr) == elsewhere
    (result,) = json.loads(run_edgecnn(*arguments, "--json").stdout)
    assert (result["artifact"]["precision"], result["half"], result["drop_points"]) == ("fp16", None, None)
    assert (result["half_share"], result["blocked"], result["backend"]) == (1.0, [], "cpu")
    assert 0 < result["parity"]["max"] < 0.01


def test_what_stays_fp32_is_listed_with_the_reason(run_edgecnn: Run, tiny: Path) -> None:
    import onnx

    node = next(node.name for node in onnx.load(tiny).graph.node if node.op_type == "Conv")
    done = run_edgecnn("quantize", "tiny.onnx", "--precision", "fp16", "--target", "cpu-arm", "--keep-float", node)
    assert done.returncode == 0, done.stderr
    assert f"tiny.cpu-arm.fp16.onnx: {node} (Conv) stays fp32: it was asked to" in done.stdout


@pytest.mark.slow
def test_bf16_is_for_openvino(run_edgecnn: Run, tiny: Path, tmp_path: Path) -> None:
    done = run_edgecnn("quantize", "tiny.onnx", "--precision", "bf16", "--target", "openvino", "--json")
    assert done.returncode == 0, done.stderr
    artifact = load_artifact(tmp_path / "tiny.openvino.bf16.onnx")
    assert (artifact.precision, artifact.opset) == ("bf16", 22)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--target", "cpu-x86"), "fp16 is not for target cpu-x86: ONNX Runtime has no fp16 kernels on x86"),
        (("--target", "cpu-arm", "--method", "mse"), "method=mse is for int8"),
        (("--target", "cpu-arm", "--reduce-range"), "reduce_range=True is for int8"),
        (
            ("--target", "cpu-arm", "--max-drop", "1"),
            "accuracy cannot be held within 1 points: there is no evaluation set",
        ),
    ],
)
def test_wrong_requests(run_edgecnn: Run, tiny: Path, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run_edgecnn("quantize", "tiny.onnx", "--precision", "fp16", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
