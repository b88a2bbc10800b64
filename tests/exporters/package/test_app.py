"""A folder for an application: it runs as it is, says what the model is, and notices every change."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgecnn
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.exporters.package import TritonOptions, check_app, package_app, package_triton
from edgecnn.exporters.package.appfiles import accuracy_lines, is_tested, preprocess_lines, requirements
from edgecnn.exporters.targets import TARGETS, find_target
from edgecnn.images import read_image
from edgecnn.specs import Preprocess
from edgecnn.testing.models import TINY, TINY_INT8

Model = Callable[..., Path]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    path = tmp_path / "image.ppm"
    path.write_bytes(b"P6 30 20 255\n" + pixels.tobytes())
    return path


def test_the_example_runs_from_its_folder(tmp_path: Path, image: Path) -> None:
    folder = package_app(TINY_INT8, tmp_path / "app").path
    moved = folder.rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "example.py", str(image)], cwd=moved, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    with edgecnn.load(TINY_INT8) as classifier:
        expected = classifier.classify(read_image(image), top=3)
    assert [label for _, label in lines] == [one.label for one in expected]
    assert [float(share) for share, _ in lines] == pytest.approx([one.probability for one in expected], abs=6e-4)
    assert len([line for line in (moved / "example.py").read_text().splitlines() if line]) <= 10
    check_app(moved)


@pytest.mark.slow
def test_the_wheel_goes_into_the_folder_and_pip_finds_it_there(tmp_path: Path) -> None:
    wheel = tmp_path / f"edgecnn-{edgecnn.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = f"edgecnn-{edgecnn.__version__}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: edgecnn\nVersion: {edgecnn.__version__}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    plain = package_app(TINY_INT8, tmp_path / "plain")
    for page in ("README.md", "requirements.txt"):
        assert "--find-links FOLDER_WITH_WHEEL" in (plain.path / page).read_text()
    written = package_app(TINY_INT8, tmp_path / "app", wheel=wheel)
    assert wheel.name in {file.name for file in check_app(written.path).files}
    only = written.path / "only.txt"
    lines = (written.path / "requirements.txt").read_text().splitlines()
    only.write_text("\n".join(line for line in lines if line.startswith(("--find-links", "edgecnn=="))))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-index", "--no-deps", "-d", "got", "-r", str(only)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [path.name for path in (tmp_path / "got").iterdir()]) == (0, [wheel.name]), done.stderr


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", f"edgecnn-{edgecnn.__version__}-py3-none-any.whl"])
def test_a_wheel_of_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(BadInput, match="wheel: expected edgecnn-"):
        package_app(TINY_INT8, tmp_path / "app", wheel=tmp_path / name)
    assert not (tmp_path / "app").exists()


def test_what_is_in_the_folder(tmp_path: Path, knowing: Path) -> None:
    written = package_app(knowing, tmp_path / "app")
    folder = tmp_path / "app"
    names = {path.name for path in folder.iterdir()}
    assert names == {file.name for file in written.files} | {"SHA256SUMS"}
    assert names == {
        "knowing.onnx",
        "example.py",
        "requirements.txt",
        "README.md",
        "labels.txt",
        "manifest.json",
        "SHA256SUMS",
    }
    assert (folder / "knowing.onnx").read_bytes() == knowing.read_bytes()
    assert (folder / "labels.txt").read_text().splitlines() == [f"class {index}" for index in range(64)]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema"], manifest["target"], manifest["precision"]) == ("edgecnn.package/1", "cpu-x86", "fp32")
    assert manifest["spec"]["accuracy"][0]["value"] == 0.875
    assert manifest["spec"]["labels"][63] == "class 63"
    sizes = {file["name"]: file["size_bytes"] for file in manifest["files"]}
    assert sizes["knowing.onnx"] == knowing.stat().st_size
    page = (folder / "README.md").read_text()
    assert "top-1 87.50% of the 1,234 test images of quarters, fp32 file on backend cpu" in page
    assert "fits into 6 x 6, then centred on black of 8 x 8" in page
    assert "minus mean 0.5, divided by std 0.25" in page
    assert "CC0-1.0" in page
    assert list(written.requirements) == [
        line for line in (folder / "requirements.txt").read_text().splitlines() if line[0] != "#"
    ]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_reads_the_manifest(tmp_path: Path) -> None:
    package_app(TINY, tmp_path / "app")
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "app", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count(": OK")) == (0, 6)


def test_check_finds_every_change(tmp_path: Path) -> None:
    app = tmp_path / "app"
    written = package_app(TINY, app)
    assert check_app(app).files == written.files
    assert check_app(app).model == "tiny.onnx"
    with (app / "tiny.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\x01")
    (app / "labels.txt").unlink()
    (app / "extra.py").write_text("import os")
    with pytest.raises(BadInput) as caught:
        check_app(app)
    for words in ("tiny.onnx is changed", "labels.txt is missing", "extra.py is not in SHA256SUMS"):
        assert words in caught.value.message


@pytest.mark.parametrize("line", ["nonsense", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  ../x", f"{'0' * 63}  x"])
def test_a_damaged_manifest(tmp_path: Path, line: str) -> None:
    package_app(TINY, tmp_path / "app")
    (tmp_path / "app" / "SHA256SUMS").write_text(f"{line}\n")
    with pytest.raises(BadInput, match=r"SHA256SUMS, line 1"):
        check_app(tmp_path / "app")
    (tmp_path / "app" / "SHA256SUMS").write_text("")
    with pytest.raises(BadInput, match="is empty"):
        check_app(tmp_path / "app")
    with pytest.raises(BadInput, match="has no SHA256SUMS"):
        check_app(tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    for force in (False, True):
        with pytest.raises(BadInput, match="a new or empty folder"):
            package_app(TINY, tmp_path / "home", force=force)
    with pytest.raises(BadInput, match="a file"):
        package_app(TINY, tmp_path / "home" / "thesis.tex")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"

    (tmp_path / "app").mkdir()
    package_app(TINY, tmp_path / "app")
    with pytest.raises(BadInput) as caught:
        package_app(TINY_INT8, tmp_path / "app")
    assert "--force replaces it" in caught.value.hint
    package_app(TINY_INT8, tmp_path / "app", force=True)
    assert not (tmp_path / "app" / "tiny.onnx").exists()
    check_app(tmp_path / "app")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "home"]


def test_a_file_that_does_not_know_its_preprocessing(tmp_path: Path, model: Model) -> None:
    with pytest.raises(BadInput) as caught:
        package_app(model("foreign.onnx"), tmp_path / "app")
    assert "does not say how images become its input" in caught.value.message
    assert "--for triton needs none" in caught.value.hint
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(BadInput, match="not an ONNX model"):
        package_app(tmp_path / "text.onnx", tmp_path / "app")
    assert not (tmp_path / "app").exists()


def test_targets(tmp_path: Path) -> None:
    written = package_app(TINY, tmp_path / "arm", target="cpu-arm")
    assert (written.target, written.backend, written.notes) == ("cpu-arm", "cpu", ())
    with pytest.raises(UnknownName, match="cpu-arm"):
        package_app(TINY, tmp_path / "x", target="cpu-amr")
    with pytest.raises(Contradiction, match="quantized for cpu-x86, not for cpu-arm"):
        package_app(TINY_INT8, tmp_path / "x", target="cpu-arm")
    with pytest.raises(Contradiction, match="int8 is not for target cuda"):
        package_app(TINY_INT8, tmp_path / "x", target="cuda")
    assert not (tmp_path / "x").exists()


def test_the_file_says_its_target(tmp_path: Path, model: Model) -> None:
    spec = Preprocess(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,))
    path = model("made.onnx", preprocess=spec, weights="made.safetensors", target="cpu-arm,cpu-x86")
    written = package_app(path, tmp_path / "app")
    assert (written.target, written.notes) == ("cpu-arm", ("accuracy not measured",))


@pytest.mark.parametrize("made_for", ["", "cpu-x86", "cuda,trt"])
def test_pixels_moved_as_bytes_are_not_for_tensorrt(tmp_path: Path, model: Model, made_for: str) -> None:
    pixels = Preprocess(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,), layout="NHWC", in_graph=True)
    path = model("made.onnx", "uint8[N,8,8,1] x", "uint8[N,64] y", preprocess=pixels, target=made_for)
    options = TritonOptions(backend="tensorrt")
    if "trt" in made_for:
        assert package_app(path, tmp_path / "app", target="trt").target == "trt"
        assert package_triton([path], tmp_path / "repo", options)[0].backend == "tensorrt"
        return
    with pytest.raises(Contradiction, match="moves its pixels as bytes"):
        package_app(path, tmp_path / "app", target="trt")
    with pytest.raises(Contradiction, match="moves its pixels as bytes"):
        package_triton([path], tmp_path / "repo", options)
    assert {entry.name for entry in tmp_path.iterdir()} == {"sources"}


def test_pins_are_what_the_tests_run_with() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    for name in TARGETS:
        target = find_target(name)
        lines = requirements(target)
        assert lines[0] == f"edgecnn=={edgecnn.__version__}"
        current = [line.partition(";")[0] for line in lines[1:] if not line.endswith('python_version < "3.11"')]
        if is_tested(target):
            assert set(current) <= set(pinned)
            assert [line for line in current if line.startswith(("onnxruntime==", "openvino=="))]
        assert all("==" in line for line in lines)
    assert importlib.metadata.version("numpy") in " ".join(requirements(find_target("cpu-x86")))


def test_preprocessing_in_words() -> None:
    spec = Preprocess(size=(224, 200), channels=3, mean=(0.1, 0.2, 0.3), std=(1, 2, 4), interpolation="bicubic")
    colour, size, last = preprocess_lines(spec)
    assert "RGB" in colour
    assert "just covers 256 x 229, then the centre 224 x 200 is cut out" in size
    assert "bicubic with antialiasing" in size
    assert "mean (0.1, 0.2, 0.3), divided by std (1, 2, 4)" in last
    assert "float32 [N, 3, 224, 200]" in last
    in_graph = Preprocess(
        size=(8, 8),
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        layout="NHWC",
        in_graph=True,
        fit="stretch",
        interpolation="nearest",
    )
    assert "uint8 [N, 8, 8, 1]" in preprocess_lines(in_graph)[2]
    assert "antialiasing" not in preprocess_lines(in_graph)[1]


def test_no_accuracy_is_said() -> None:
    artifact = edgecnn.load_artifact(TINY)
    assert accuracy_lines(artifact) == ("None: the weights are random.",)


def test_packaging_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from edgecnn.cli.package import package\n"
        f"package([{str(TINY)!r}, '--for', 'app', '-o', {str(tmp_path / 'app')!r}], standalone_mode=False)\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'google', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
