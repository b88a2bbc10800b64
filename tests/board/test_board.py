"""The wheel and an int8 model on a 64-bit Arm board: it works there, and the outputs equal this machine's."""

from __future__ import annotations

import io
import json
import os
import platform
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.data import open_dataset
from edgecnn.resultlines import loads
from edgecnn.results import Record

pytestmark = pytest.mark.board
FOLDER = "edgecnn-board-test"
ROOT = Path(__file__).parents[2]
OUTPUTS = """
import json, sys, numpy as np, edgecnn
images = np.load("images.npy")
out = {}
for path in sys.argv[1:]:
    with edgecnn.load(path) as classifier:
        out[path] = classifier.scores(list(images)).tolist()
print(json.dumps(out))
"""


class Board:
    """A board behind a command that runs its arguments there."""

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def run(self, line: str, *, data: bytes | None = None) -> str:
        done = subprocess.run([*self.command, line], input=data, capture_output=True, timeout=900, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def python(self, arguments: str) -> str:
        return self.run(f"cd {FOLDER} && PYTHONPATH=site python3 {arguments}")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    for arguments in (("export", "mobilenet"), ("quantize", "models/mobilenet_v1_0.25_32.onnx", "--max-drop", "0.5")):
        subprocess.run([sys.executable, "-m", "edgecnn", *arguments], cwd=folder, check=True)
    return folder / "models/mobilenet_v1_0.25_32.onnx", folder / "models/mobilenet_v1_0.25_32.int8.onnx"


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.asarray(open_dataset("fashion-mnist").split("test").images[:20])


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, models: tuple[Path, Path], images: np.ndarray) -> Iterator[Board]:
    command = shlex.split(os.environ.get("BOARD_SSH", ""))
    if not command:
        pytest.skip("no board: BOARD_SSH names the command that reaches one")
    folder = tmp_path_factory.mktemp("board")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "site")]
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True
    )
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "click", "rich"], check=True)
    np.save(folder / "images.npy", images)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder / "site", "site")
        archive.add(folder / "images.npy", "images.npy")
        for path in models:
            archive.add(path, path.name)
    board = Board(command)
    board.run(f"rm -rf {FOLDER} && mkdir {FOLDER} && tar xzf - -C {FOLDER}", data=packed.getvalue())
    yield board
    board.run(f"rm -rf {FOLDER}")


def test_outputs_equal_this_machines(board: Board, models: tuple[Path, Path], images: np.ndarray) -> None:
    names = [path.name for path in models]
    board.run(f"cat > {FOLDER}/outputs.py", data=OUTPUTS.encode())
    there = json.loads(board.python(f"outputs.py {' '.join(names)}"))
    for path in models:
        with edgecnn.load(path) as classifier:
            here = classifier.scores(list(images))
        actual = np.array(there[path.name], np.float32)
        if "int8" in path.name:
            np.testing.assert_array_equal(actual, here)
        else:
            np.testing.assert_allclose(actual, here, rtol=1e-4, atol=1e-5)


def test_predict_gives_the_same_label(board: Board, models: tuple[Path, Path], images: np.ndarray) -> None:
    picture = b"P5 28 28 255\n" + images[0].tobytes()
    board.run(f"cat > {FOLDER}/boot.pgm", data=picture)
    answer = json.loads(board.python(f"-m edgecnn predict {models[1].name} boot.pgm --json"))
    assert answer[0]["predictions"][0]["label"] == "Ankle boot"


def test_bench_writes_a_record_of_an_arm_machine(board: Board, models: tuple[Path, Path]) -> None:
    board.python(f"-m edgecnn bench {models[1].name} --seconds 0.5")
    record: Record = loads(board.run(f"cat {FOLDER}/results.jsonl").splitlines()[-1])
    assert record.status == "ok"
    assert record.device.arch == "aarch64"
    assert record.subject.precision == "int8"
    latency = record.metric("latency")
    assert latency is not None
    assert latency.n >= 30
    # QEMU in user mode runs under this machine's kernel.
    emulated = board.run("uname -r").strip() == platform.release()
    assert ("emulated" in {reason.code for reason in record.quality.reasons}) == emulated
    assert not emulated or record.quality.verdict == "invalid"
