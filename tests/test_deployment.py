"""deployment.toml: round trip, loading, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgecnn
from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.deployment import dumps, read_deployment, resolve, write_deployment
from edgecnn.deploymentparts import (
    ArtifactPart,
    Deployment,
    MachinePart,
    MadePart,
    MeasuredPart,
    RunPart,
)
from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes import OpenOptions
from edgecnn.testing.models import TINY

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.floats(1e-3, 1e15)


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    return Deployment(
        artifact=ArtifactPart(
            file=draw(TEXTS.filter(bool)),
            sha256=draw(st.text("0123456789abcdef", min_size=1)),
            network=draw(TEXTS),
            precision=draw(st.sampled_from([None, "fp32", "int8"])),
            size_bytes=draw(st.none() | st.integers(0, 2**40)),
        ),
        run=RunPart(
            backend=draw(st.sampled_from(["cpu", "openvino"])),
            preset=draw(st.sampled_from(["latency", "embedded", "shared"])),
            batch=draw(st.integers(1, 64)),
            threads=draw(st.none() | st.integers(1, 64)),
            spinning=draw(st.booleans()),
            arena=draw(st.booleans()),
            cache=draw(st.none() | st.booleans()),
        ),
        measured=draw(
            st.none()
            | st.builds(
                MeasuredPart,
                latency_ns=NUMBERS,
                latency_ci95_ns=st.none() | st.tuples(NUMBERS, NUMBERS),
                energy_reason=TEXTS,
                drop_points=st.none() | st.floats(-5, 5),
                verdict=st.sampled_from([None, "valid", "suspect"]),
                reasons=st.lists(TEXTS, max_size=3).map(tuple),
            )
        ),
        machine=draw(
            st.none()
            | st.builds(MachinePart, cpu=st.none() | TEXTS.filter(bool), cores=st.none() | st.integers(1, 999))
        ),
        made=draw(st.none() | st.builds(MadePart, edgecnn=TEXTS.filter(bool), budget=TEXTS)),
    )


@given(deployments())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, deployment: Deployment) -> None:
    path = tmp_path_factory.mktemp("deployment") / "deployment.toml"
    write_deployment(path, deployment)
    assert read_deployment(path) == deployment


def made(folder: Path, **run: object) -> Path:
    (folder / "models").mkdir(exist_ok=True)
    model = folder / "models/tiny.onnx"
    shutil.copy(TINY, model)
    part = RunPart(**{"backend": "cpu", "threads": 1, "spinning": False, **run})  # type: ignore[arg-type]
    deployment = Deployment(artifact=ArtifactPart(file="models/tiny.onnx", sha256=file_sha256(model)), run=part)
    write_deployment(folder / "deployment.toml", deployment)
    return folder / "deployment.toml"


def test_load_opens_what_it_says(tmp_path: Path) -> None:
    path = made(tmp_path, preset="embedded", arena=False, batch=4)
    with edgecnn.load(path) as classifier:
        info = classifier.info()
        assert classifier.artifact.path == tmp_path / "models/tiny.onnx"
    assert (info.backend, info.threads, info.options["spinning"], info.options["arena"]) == ("cpu", 1, False, False)
    _, _, options = resolve(path, preset=None, options=None)
    assert options == OpenOptions(threads=1, spinning=False, arena=False, max_batch=4)


def test_load_takes_the_path_as_text_and_the_same_backend_again(tmp_path: Path) -> None:
    path = made(tmp_path)
    edgecnn.load(str(path)).close()
    edgecnn.load(path, backend="cpu", preset="latency").close()


def test_load_takes_the_folder_of_a_deployment(tmp_path: Path) -> None:
    made(tmp_path, preset="embedded", arena=False)
    with edgecnn.load(tmp_path) as classifier:
        info = classifier.info()
    assert (info.threads, info.options["spinning"], info.options["arena"]) == (1, False, False)
    with pytest.raises(BadInput, match="is a folder"):
        edgecnn.load(tmp_path / "models")


def test_where_a_model_file_is_wanted_a_deployment_says_what_to_give(tmp_path: Path) -> None:
    path = made(tmp_path, preset="embedded")
    for asked, said in ((path, "is no model file"), (tmp_path, "is a folder")):
        with pytest.raises(BadInput, match=said) as caught:
            load_artifact(asked)
        assert (
            f"{tmp_path}/models/tiny.onnx --backend cpu --preset embedded --threads 1; edgecnn.load("
            in caught.value.hint
        )


@pytest.mark.parametrize("asked", [{"backend": "torch"}, {"preset": "shared"}, {"options": OpenOptions(threads=2)}])
def test_load_with_something_else_contradicts(tmp_path: Path, asked: dict[str, object]) -> None:
    with pytest.raises(Contradiction, match="says how its model is run"):
        edgecnn.load(made(tmp_path), **asked)  # type: ignore[arg-type]


def test_another_file_under_the_same_name_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    with (tmp_path / "models/tiny.onnx").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(BadInput, match="not the file that was tuned"):
        edgecnn.load(path)
    (tmp_path / "models/tiny.onnx").unlink()
    with pytest.raises(BadInput, match="does not exist"):
        edgecnn.load(path)


@pytest.mark.parametrize("file", ["/etc/passwd", "../tiny.onnx", "models/../../tiny.onnx", ".", "a\0b.onnx"])
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    path = made(tmp_path)
    shutil.copy(TINY, tmp_path.parent / "tiny.onnx")
    found = read_deployment(path)
    write_deployment(path, replace(found, artifact=replace(found.artifact, file=file)))
    with pytest.raises(BadInput, match="path within the folder"):
        edgecnn.load(path)


def test_a_built_engine_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    (tmp_path / "models/tiny.onnx").rename(tmp_path / "models/tiny.engine")
    found = read_deployment(path)
    write_deployment(path, replace(found, artifact=replace(found.artifact, file="models/tiny.engine")))
    with pytest.raises(BadInput, match=r"expected an \.onnx file"):
        edgecnn.load(path)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('schema = "edgecnn.deployment/1"', 'schema = "edgecnn.deployment/9"'), BadInput),
        (('schema = "edgecnn.deployment/1"', ""), BadInput),
        (('backend = "cpu"', "backend = 3"), BadInput),
        (('backend = "cpu"', ""), BadInput),
        (("batch = 1", "batch = 0"), BadInput),
        (("threads = 1", "threads = -1"), BadInput),
        (('preset = "latency"', 'preset = "fast"'), UnknownName),
        (("[artifact]", "[artifact"), BadInput),
        (('backend = "cpu"', 'backend = "nosuch"'), UnknownName),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str], error: type[Exception]) -> None:
    path = made(tmp_path)
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises(error):
        edgecnn.load(path)


def test_what_would_let_an_engine_load_code_is_not_read(tmp_path: Path) -> None:
    path = made(tmp_path)
    path.write_text(path.read_text() + 'trust_engine = true\nengine = {"session.custom" = "evil.so"}\n')
    _, _, options = resolve(path, preset=None, options=None)
    assert not options.trust_engine
    assert options.engine == {}


def test_what_utf8_cannot_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="UTF-8"):
        dumps(Deployment(artifact=ArtifactPart(file="\udcff.onnx", sha256="0"), run=RunPart(backend="cpu")))


def test_loading_imports_no_exporter_and_no_search(tmp_path: Path) -> None:
    path = made(tmp_path, backend="null", spinning=True)
    code = (
        f"import sys, edgecnn; edgecnn.load({str(path)!r}).close(); "
        "print([name for name in sys.modules if name.startswith(('torch', 'onnx', 'edgecnn.tune', 'edgecnn.exporters'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
