"""Each example runs as its text says, and is short enough to copy from."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgecnn.testing.models import TINY

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def _run(name: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), str(TINY), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_it_is_under_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_it_tells_how_to_use_it(path: Path) -> None:
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f"python examples/{path.name} models/" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("camera_loop.py", [TINY], "error: the following arguments are required: source"),
        pytest.param("camera_loop.py", ["none.onnx", "."], "error: none.onnx does not exist", marks=pytest.mark.slow),
        ("camera_loop.py", [TINY, "none"], "error: "),
        pytest.param(
            *("folder_watcher.py", [TINY], "error: the following arguments are required: folder"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "folder_watcher.py", ["none.onnx", "."], "error: none.onnx does not exist", marks=pytest.mark.slow
        ),
        ("folder_watcher.py", [TINY, "none", "--once"], "No such file or directory: 'none'"),
        pytest.param(
            *("folder_watcher.py", [TINY, ".", "--seconds", "-1"], "error: sleep length must be non-negative"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "web_service.py", [TINY], "error: the following arguments are required: image", marks=pytest.mark.slow
        ),
        ("web_service.py", [TINY, "none.png"], "No such file or directory: 'none.png'"),
        pytest.param(
            *("web_service.py", ["none.onnx", EXAMPLES / "web_service.py"], "error: none.onnx does not exist"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("web_service.py", [TINY, EXAMPLES / "web_service.py"], "is not an image of a known format"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_wrong_is_told_without_a_traceback(
    tmp_path: Path, name: str, arguments: list[object], told: str
) -> None:
    if name == "web_service.py" and arguments[-1] == EXAMPLES / name:
        pytest.importorskip("uvicorn")
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert sum("error:" in line for line in done.stderr.splitlines()) <= 2
    assert done.stdout == ""


def test_the_folder_watcher_labels_what_it_can(images: Path) -> None:
    (images / "bad.png").write_bytes(b"no image")
    done = _run("folder_watcher.py", images, "--once")
    assert done.returncode == 0, done.stderr
    assert [Path(line.split("\t")[0]).name for line in done.stdout.splitlines()] == ["0.png", "1.png", "2.png"]
    assert "bad.png" in done.stderr


@pytest.mark.slow
def test_the_folder_watcher_sees_new_images(images: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    command = [sys.executable, str(EXAMPLES / "folder_watcher.py"), str(TINY), str(inbox), "--seconds", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            (inbox / "new.png").write_bytes((images / "0.png").read_bytes())
            assert watcher.stdout is not None
            assert watcher.stdout.readline().startswith(str(inbox / "new.png"))
        finally:
            watcher.kill()


@pytest.mark.slow
def test_the_folder_watcher_takes_an_image_that_comes_again(images: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    command = [sys.executable, str(EXAMPLES / "folder_watcher.py"), str(TINY), str(inbox), "--seconds", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        kill = threading.Timer(60, watcher.kill)
        kill.start()
        try:
            assert watcher.stdout is not None
            for _ in range(2):
                (inbox / "new.png").write_bytes((images / "0.png").read_bytes())
                assert watcher.stdout.readline().startswith(str(inbox / "new.png"))
                (inbox / "new.png").unlink()
                time.sleep(0.5)
        finally:
            kill.cancel()
            watcher.kill()


def test_the_camera_loop_takes_a_folder(images: Path) -> None:
    (images / "notes.txt").write_text("no image")
    done = _run("camera_loop.py", images)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["0", "1", "2"]


@pytest.mark.slow
def test_the_web_service_answers(images: Path) -> None:
    pytest.importorskip("uvicorn")
    done = _run("web_service.py", images / "0.png")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 3
