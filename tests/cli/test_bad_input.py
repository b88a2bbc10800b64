"""Bad input at the command line: one clear line and a hint, the exit code of the error tree, no traceback, nothing left."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgecnn.resultlines import read
from edgecnn.testing.models import TINY, TINY_INT8

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Texts = tuple[str, ...]


def check(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr
    for text in texts:
        assert text in done.stderr


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("exprot", "lenet5"), 2, ("unknown command 'exprot'", "did you mean export?")),
        (("zoo", "show", "squeznet"), 2, ("unknown network 'squeznet'", "did you mean squeezenet?")),
        (("bench", "x.onnx", "--backend", "cpuu"), 2, ("unknown backend 'cpuu'", "did you mean cpu?", "null")),
        (("bench", "x.onnx"), 2, ("x.onnx does not exist",)),
        (("bench", "--batch", "0", "x.onnx"), 2, ("at least 1",)),
        (("bench", "--seconds", "0", "x.onnx"), 2, ("seconds", "above 0")),
        (("predict", "x.onnx", "shoe.png"), 2, ("x.onnx does not exist",)),
        (("predict", str(TINY), "shoe.png"), 2, ("shoe.png does not exist",)),
        (("quantize", "x.onnx"), 2, ("x.onnx does not exist",)),
        (("quantize", str(TINY), "--calibration", "nothing/here"), 2, ("nothing/here",)),
        (("--nonsense",), 2, ("--nonsense",)),
    ],
)
def test_wrong_requests(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, texts: tuple[str, ...]
) -> None:
    check(run_edgecnn(*arguments), code, *texts)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("export", "mobilnet"), 2, ("did you mean mobilenet?",)),
        (("export", "resnet50"), 2, ("resnet50 has no bundled weights", "--weights random", "resnet20")),
        (
            ("export", "mobilenet", "--width", "0.5"),
            2,
            ("weights are those of mobilenet_v1_0.25_32", "--weights random"),
        ),
        (("export", "resnet50", "--weights", "random", "--width", "0.5"), 2, ("resnet50 has no width", "mobilenet_v1")),
        (("export", "mobilenet", "--weights", "random", "--width", "0"), 2, ("width", "at least 0.03125")),
        (("export", "lenet5", "--weights", "random", "--input-size", "64"), 2, ("32 pixels",)),
        (("export", "lenet5", "--opset", "12"), 2, ("opset", "18 to 23")),
        (("export", "lenet5", "--weights", "missing.safetensors"), 2, ("missing.safetensors does not exist",)),
        (("train", "lenet5", "--data", "no/such/folder"), 2, ("no/such/folder",)),
    ],
)
def test_wrong_exports(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, texts: tuple[str, ...]
) -> None:
    pytest.importorskip("torch")
    check(run_edgecnn(*arguments), code, *texts)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"not a model", TINY.read_bytes()[:-100]], ids=["empty", "text", "cut"])
@pytest.mark.parametrize("verb", ["bench", "predict", "quantize"])
def test_damaged_models(run_edgecnn: Run, tmp_path: Path, verb: str, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    image = [str(tmp_path / "image.pgm")] if verb == "predict" else []
    check(run_edgecnn(verb, str(path), *image), 2, "damaged.onnx")
    assert leftovers(tmp_path) == ["damaged.onnx"]


def test_a_newer_opset_than_the_engine_reads(run_edgecnn: Run, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    check(run_edgecnn("bench", "new.onnx"), 2, "opset 99", "--opset 18")


def test_results_are_never_appended_to_a_model(run_edgecnn: Run, tmp_path: Path) -> None:
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    check(run_edgecnn("bench", "tiny.onnx", "-o", "tiny.onnx"), 2, ".jsonl")
    assert (tmp_path / "tiny.onnx").read_bytes() == TINY.read_bytes()


@pytest.mark.slow
def test_one_model_that_fails_does_not_stop_the_others(run_edgecnn: Run, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    shutil.copy(TINY, tmp_path / "b.onnx")
    model = onnx.load(TINY)
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "a.onnx")
    done = run_edgecnn("bench", "a.onnx", "b.onnx", "--seconds", "0.05")
    assert done.returncode == 2
    assert "tiny (b.onnx)" in done.stdout
    assert "opset 99" in done.stdout
    assert done.stderr.count("error:") == 1
    statuses = [(record.subject.file, record.status) for record in read(tmp_path / "results.jsonl")]
    assert statuses == [("a.onnx", "failed"), ("b.onnx", "ok")]


def test_a_calibration_folder_without_images(run_edgecnn: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(TINY, tmp_path / "tiny.onnx")
    check(run_edgecnn("quantize", "tiny.onnx", "--calibration", "empty"), 2, "empty has no images")
    assert leftovers(tmp_path) == ["tiny.onnx"]


def test_quantizing_twice(run_edgecnn: Run, tmp_path: Path) -> None:
    check(run_edgecnn("quantize", str(TINY_INT8), "-o", str(tmp_path / "out.onnx")), 5, "already")
    assert leftovers(tmp_path) == []


def test_a_pickle_that_is_no_state_dict(run_edgecnn: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weights": object}, tmp_path / "weights.pth")
    done = run_edgecnn("export", "lenet5", "--weights", "weights.pth")
    check(done, 2, "not a plain state dict")
    assert leftovers(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize("size", [100, 10_000, 200_000])
def test_cut_weights(run_edgecnn: Run, tmp_path: Path, size: int) -> None:
    torch = pytest.importorskip("torch")
    torch.save({f"layer{i}.weight": torch.zeros(100, 100) for i in range(9)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:size])
    check(run_edgecnn("export", "lenet5", "--weights", "cut.pth"), 2, "cut.pth", "again")


def test_impossible_threads_and_backends(run_edgecnn: Run, tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 255\n1234")
    check(run_edgecnn("predict", str(TINY), "a.pgm", "--threads", "99999999999"), 2, "threads", "at most 4 for each")
    check(run_edgecnn("predict", str(TINY), "a.pgm", "--backend", "null"), 2, "null", "--backend cpu")


@pytest.mark.slow
def test_sigterm_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "edgecnn", "export", "resnet152", "--weights", "random"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and "libtorch" not in maps.read_text():
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert leftovers(tmp_path) == []


def test_weights_of_another_network(run_edgecnn: Run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({f"layer{i}.weight": torch.zeros(3) for i in range(5)}, tmp_path / "weights.pth")
    done = run_edgecnn("export", "lenet5", "--weights", "weights.pth", "--classes", "10")
    check(done, 2, "do not fit", "features.c1.weight, features.c1.bias, features.c3.weight, ...", "layer0.weight")


def test_a_folder_that_cannot_be_written(run_edgecnn: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "models").write_text("a file where the folder should be")
    check(run_edgecnn("export", "lenet5"), 4, "cannot write models/lenet5.onnx", "--output")
    assert leftovers(tmp_path) == ["models"]


@contextmanager
def small_disk() -> Iterator[None]:
    """Let no file of this process grow beyond 100 kB: a write that would is an OSError, as on a full disk."""
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.slow
def test_a_full_disk(run_edgecnn: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with small_disk():
        done = run_edgecnn("export", "lenet5")
    check(done, 4, "cannot write models/lenet5.onnx")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "delay_s", [0.5, pytest.param(3.0, marks=pytest.mark.slow), pytest.param(5.0, marks=pytest.mark.slow)]
)
def test_ctrl_c_leaves_nothing(tmp_path: Path, delay_s: float) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "edgecnn", "export", "resnet152", "--weights", "random"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(delay_s)
    for last in (False, False, True):
        process.send_signal(signal.SIGINT)
        try:
            out, error = process.communicate(timeout=20)
            break
        except subprocess.TimeoutExpired:  # the interrupt fell into the start of Python, which can lose it
            if last:
                raise
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert out == ""
    assert leftovers(tmp_path) == []


def test_debug_shows_the_traceback(run_edgecnn: Run) -> None:
    done = run_edgecnn("bench", "x.onnx", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("export", "lenet5", "-o", "file/x.onnx"), "file/x.onnx"),
        (("export", str(TINY), "-o", "file/x.onnx"), "file/x.onnx"),
        (("quantize", str(TINY), "-o", "file/x.onnx"), "file/x.onnx"),
        (("package", "no.onnx", "--for", "app", "-o", "file/app"), "file/app"),
        (("package", "no.onnx", "--for", "triton", "-o", "file/repo"), "file/repo"),
        (("profile", "no.onnx", "--svg", "file/pictures"), "file/pictures"),
        (("tune", str(TINY), "-o", "file/tuned"), "file/tuned"),
    ],
)
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_done(
    run_edgecnn: Run, tmp_path: Path, arguments: tuple[str, ...], place: str
) -> None:
    for module in ("torch", "matplotlib") if arguments[0] in ("export", "profile") else ():
        pytest.importorskip(module)
    (tmp_path / "file").write_text("no folder")
    done = run_edgecnn(*arguments)
    check(done, 4, f"cannot write {place}: ", "choose another place")
    assert not [word for word in ("exporting", "quantizing", "profiling", "tuning") if word in done.stderr]
    assert leftovers(tmp_path) == ["file"]
