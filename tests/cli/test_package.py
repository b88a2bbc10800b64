"""`edgecnn package`: what it prints, and how it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_repository_as_json_and_in_words(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("package", str(TINY), str(TINY_INT8), "--for", "triton", "-o", "repo/", "--json")
    assert done.returncode == 0, done.stderr
    fp32, int8 = json.loads(done.stdout)
    assert (fp32["name"], fp32["version"], fp32["added"], fp32["config"], fp32["max_batch"]) == (
        "tiny",
        1,
        True,
        "written",
        8,
    )
    for name in (*fp32["files"], *int8["files"]):
        assert (tmp_path / "repo" / name).is_file()

    done = run_edgecnn("package", str(TINY), "--for", "triton", "-o", "repo", "--max-batch", "4")
    assert done.returncode == 0, done.stderr
    assert "repo/tiny: version 1 is this file already, onnxruntime, max batch 8, config.pbtxt kept" in done.stdout
    assert "--force replaces it" in done.stderr
    done = run_edgecnn("package", "--check", "repo", "--json")
    assert [one["name"] for one in json.loads(done.stdout)] == ["tiny", "tiny.int8"]


def test_every_triton_option_reaches_the_configuration(run_edgecnn: Run, tmp_path: Path) -> None:
    options = (
        "--name mobilenet --max-batch 16 --preferred 4,8 --max-delay-us 100 --queue-size 32 --queue-timeout-us 900 "
        "--timeout-action delay --instances cpu:2 --instances gpu:1@0 --threads 2 --parameter enable_mem_arena=0 "
        "--warmup random --versions latest:2"
    )
    done = run_edgecnn("package", str(TINY), "--for", "triton", "-o", "repo", *options.split())
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "repo" / "mobilenet" / "config.pbtxt").read_text()
    for words in (
        'name: "mobilenet"',
        "max_batch_size: 16",
        "preferred_batch_size: [4, 8]",
        "max_queue_delay_microseconds: 100",
        "max_queue_size: 32",
        "default_timeout_microseconds: 900",
        "timeout_action: DELAY",
        "kind: KIND_CPU\n  count: 2",
        "kind: KIND_GPU\n  count: 1\n  gpus: [0]",
        'key: "intra_op_thread_count"\n  value {\n    string_value: "2"',
        'key: "enable_mem_arena"',
        "random_data: true",
        "num_versions: 2",
    ):
        assert words in text
    done = run_edgecnn("package", str(TINY), "--for", "triton", "-o", "plain", "--no-batching", "--warmup", "none")
    assert done.returncode == 0, done.stderr
    plain = (tmp_path / "plain" / "tiny" / "config.pbtxt").read_text()
    assert "dynamic_batching" not in plain
    assert "model_warmup" not in plain
    done = run_edgecnn("package", str(TINY), "--for", "triton", "-o", "alone", "--max-batch", "0")
    assert done.returncode == 0, done.stderr
    assert "max_batch_size: 0" in (tmp_path / "alone" / "tiny" / "config.pbtxt").read_text()


def test_an_application(run_edgecnn: Run, tmp_path: Path) -> None:
    done = run_edgecnn("package", str(TINY_INT8), "--for", "app", "-o", "app")
    assert done.returncode == 0, done.stderr
    assert "app: 7 files" in done.stdout
    assert "for cpu-x86 on backend cpu" in done.stdout
    done = run_edgecnn("package", "--check", "app")
    assert (done.returncode, done.stdout) == (0, "app: 6 files, as SHA256SUMS says\n")
    (tmp_path / "app" / "labels.txt").write_text("other\n")
    done = run_edgecnn("package", "--check", "app")
    assert done.returncode == 2
    assert "labels.txt is changed" in done.stderr
    done = run_edgecnn("package", str(TINY), "--for", "app", "-o", "openvino", "--target", "openvino", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backend"] == "openvino"


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ((), ("MODEL is missing",)),
        ((str(TINY),), ("--for triton or --for app is missing",)),
        ((str(TINY), "--for", "triton"), ("--output FOLDER is missing",)),
        ((str(TINY), "--for", "torchserve", "-o", "out"), ("torchserve",)),
        (("missing.onnx", "--for", "triton", "-o", "out"), ("missing.onnx does not exist",)),
        (("notes.txt", "--for", "triton", "-o", "out"), ("not an ONNX model",)),
        ((str(TINY_BATCH1), "--for", "triton", "-o", "out", "--max-batch", "4"), ("free batch", "--batch")),
        ((str(TINY), "--for", "triton", "-o", "out", "--max-batch", "-1"), ("max batch: expected 0",)),
        ((str(TINY), "--for", "triton", "-o", "out", "--threads", "0"), ("threads: expected 1",)),
        ((str(TINY), "--for", "triton", "-o", "out", "--target", "trt"), ("--target with --for triton",)),
        ((str(TINY), "--for", "triton", "-o", "out", "--name", "a/b"), ("model name", "--name")),
        ((str(TINY), "--for", "triton", "-o", "out", "--instances", "tpu"), ("instances", "cpu:2")),
        ((str(TINY), "--for", "triton", "-o", "out", "--parameter", "x"), ("KEY=VALUE",)),
        ((str(TINY), "--for", "triton", "-o", "out", "--parameter", "x=1", "--parameter", "x=2"), ("twice",)),
        ((str(TINY), "--for", "triton", "-o", "notes.txt"), ("notes.txt, a file",)),
        ((str(TINY), "--for", "triton", "-o", "."), ("holds no model of Triton",)),
        ((str(TINY_INT8), "--for", "triton", "-o", "out", "--backend", "tensorrt"), ("quantized for", "--target trt")),
        ((str(TINY), "--for", "app", "-o", "out", "--backend", "tensorrt"), ("--backend with --for app",)),
        ((str(TINY), "--for", "app", "-o", "out", "--parameter", "x=1"), ("--parameter with --for app",)),
        ((str(TINY), "--for", "app", "-o", "out", "--target", "cpu"), ("unknown target 'cpu'", "cpu-x86")),
        ((str(TINY), str(TINY_INT8), "--for", "app", "-o", "out"), ("one folder for 2 models",)),
        ((str(TINY), "--for", "app", "-o", "."), ("a new or empty folder",)),
        (("--check", "out"), ("out is not a folder",)),
        (("--check", "."), ("holds no model of Triton",)),
        ((str(TINY), "--check", "."), ("--check with something to write",)),
    ],
)
def test_wrong_requests_write_nothing(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    done = run_edgecnn("package", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    for text in texts:
        assert text in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_model_without_labels_says_so_unless_quiet(run_edgecnn: Run, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>\ng (float[N,3,H,W] x) => (float[N,K] y) { y = Flatten(x) }'
    )
    onnx.save(proto, tmp_path / "open.onnx")
    done = run_edgecnn("package", "open.onnx", "--for", "triton", "-o", "repo")
    assert (done.returncode, "no labels" in done.stderr, "no warm-up" in done.stderr) == (0, True, True)
    shutil.rmtree(tmp_path / "repo")
    done = run_edgecnn("package", "open.onnx", "--for", "triton", "-o", "repo", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    done = run_edgecnn("package", "open.onnx", "--for", "app", "-o", "app")
    assert done.returncode == 2
    assert "does not say how images become its input" in done.stderr
