"""`edgecnn quantize`: its options, its tables, the names of its files, and what it says about the cache."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.artifacts import load_artifact
from edgecnn.testing.models import TINY, TINY_INT8

pytest.importorskip("onnx")

from edgecnn.cli.quantize import default_output

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("target", "precision", "name"),
    [
        ("cpu-x86", "int8", "net.int8.onnx"),
        ("cpu-arm", "int8", "net.cpu-arm.int8.onnx"),
        ("cpu-x86,openvino", "int8", "net.cpu-x86+openvino.int8.onnx"),
        ("cpu-arm", "fp16", "net.cpu-arm.fp16.onnx"),
    ],
)
def test_files_for_several_targets_lie_side_by_side(target: str, precision: str, name: str) -> None:
    assert default_output(Path("models/net.onnx"), precision, target) == Path("models") / name  # type: ignore[arg-type]


def test_the_options_reach_the_file(run_edgecnn: Run, tiny: Path, tmp_path: Path) -> None:
    node = next(iter(load_nodes(tiny)))
    done = run_edgecnn(
        "quantize", "tiny.onnx", "--target", "cpu-arm", "--method", "percentile", "--percentile", "99.5",
        "--calibration-images", "20", "--keep-float", node, "--without-pass", "global-pool", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["artifact"]["path"] == "tiny.cpu-arm.int8.onnx"
    assert files(tmp_path) == ["tiny.cpu-arm.int8.onnx", "tiny.onnx"]
    options = load_artifact(tmp_path / "tiny.cpu-arm.int8.onnx").lineage[-1].options
    wanted = {
        "target": "cpu-arm",
        "method": "percentile",
        "percentile": 99.5,
        "calibration_images": 20,
        "keep_float": node,
        "without_passes": "global-pool",
    }
    assert wanted.items() <= options.items()
    assert 0 < result["int8_share"] < 1


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the target is cpu-x86")
def test_both_files_are_timed_unless_told_not_to(run_edgecnn: Run, tiny: Path) -> None:
    timed, untimed = (run_edgecnn("quantize", "tiny.onnx", "--json", *more) for more in ((), ("--no-time",)))
    (with_time,), (without,) = json.loads(timed.stdout), json.loads(untimed.stdout)
    assert with_time["time_ratio"] > 0
    assert without["time_ratio"] is None
    assert "the time of fp32" not in untimed.stderr


def test_a_search_for_the_fastest_file_is_timed(run_edgecnn: Run, tiny: Path) -> None:
    done = run_edgecnn("quantize", "tiny.onnx", "--max-drop", "1", "--no-time")
    assert done.returncode == 2
    assert "--no-time and --max-drop exclude each other" in done.stderr


def load_nodes(path: Path) -> list[str]:
    import onnx

    return [node.name for node in onnx.load(path).graph.node if node.op_type == "Conv"]


def test_the_second_time_ranges_come_from_the_cache(run_edgecnn: Run, tiny: Path) -> None:
    arguments = ("quantize", "tiny.onnx", "--calibration-images", "33")
    first, second, third = (run_edgecnn(*arguments, *more) for more in ((), (), ("--no-cache",)))
    assert "from the cache" not in first.stderr
    assert "ranges of 33 calibration images are taken from the cache" in second.stderr
    assert "from the cache" not in third.stderr
    assert first.stdout == second.stdout == third.stdout
    assert "int8 MACs %" in first.stdout


def test_several_targets_that_contradict_each_other(run_edgecnn: Run, tiny: Path, tmp_path: Path) -> None:
    done = run_edgecnn("quantize", "tiny.onnx", "--target", "cpu-x86,trt")
    assert done.returncode == 2
    assert "cpu-x86" in done.stderr
    assert "trt" in done.stderr
    assert files(tmp_path) == ["tiny.onnx"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--target", "cpu-arn"), "did you mean cpu-arm?"),
        (("--precision", "fp16"), "fp16 is not for target cpu-x86"),
        (("--precision", "bf16", "--target", "cpu-arm"), "bf16 is not for target cpu-arm"),
        (("--percentile", "99"), "a percentile was given for method minmax"),
        (("--keep-float", "conv_nowhere"), "unknown node 'conv_nowhere'"),
        (("--without-pass", "fold-batchnorm"), "unknown pass 'fold-batchnorm'"),
        (("--method", "kl"), "kl"),
        (("--calibration-images", "0"), "calibration-images"),
        (("--output", "out.txt"), "expected a file name that ends in .onnx, got out.txt"),
        (("--output", "."), "expected a file name that ends in .onnx, got ."),
    ],
)
def test_wrong_options(run_edgecnn: Run, tiny: Path, tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run_edgecnn("quantize", "tiny.onnx", *arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert done.stdout == ""
    assert files(tmp_path) == ["tiny.onnx"]


def test_of_several_files_those_of_other_precision_are_passed_over(
    run_edgecnn: Run, tiny: Path, tmp_path: Path
) -> None:
    shutil.copy(TINY_INT8, tmp_path / "other.onnx")
    done = run_edgecnn("quantize", "other.onnx", "tiny.onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert "other.onnx is int8 already: passed over" in done.stderr
    assert files(tmp_path) == ["other.onnx", "tiny.int8.onnx", "tiny.onnx"]


@pytest.mark.slow
def test_a_bound_is_searched_for_and_every_step_told(run_edgecnn: Run, tmp_path: Path, lenet5: Path) -> None:
    shutil.copy(lenet5, tmp_path / "lenet5.onnx")
    table = run_edgecnn("quantize", "lenet5.onnx", "--max-drop", "0.5")
    assert table.returncode == 0, table.stderr
    assert "trying plain: minmax" in table.stderr
    for text in ("at most 0.5 points", "plain", "10000", "* was written", "measured in turns with it"):
        assert text in table.stdout
    (result,) = json.loads(run_edgecnn("quantize", "lenet5.onnx", "--max-drop", "0.5", "--json").stdout)
    search = result["search"]
    assert search["trials"][search["chosen"]]["whole"]["images"] == 10_000
    assert search["trials"][0]["step"] == "fp32"
    assert all(trial["latency_ns"] > 0 for trial in search["trials"])
    assert result["int8_share"] >= 0.9
