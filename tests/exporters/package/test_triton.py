"""A Triton model repository on the disk: what is written, what is kept, and that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.errors import BadInput, Contradiction, UnavailableError
from edgecnn.exporters.package import TritonOptions, check_repository, package_triton
from edgecnn.exporters.package.folders import copy_model, place, staging
from edgecnn.testing.models import TINY, TINY_BATCH1, TINY_INT8

Model = Callable[..., Path]
Parse = Callable[[str], Any]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_several_models_in_one_repository(tmp_path: Path, parse_config: Parse) -> None:
    served = package_triton([TINY, TINY_INT8, TINY_BATCH1], tmp_path / "a" / "repo")
    there = files(tmp_path / "a")
    names = ("tiny", "tiny.int8", "tiny.batch1")
    assert sorted(there) == sorted(
        f"repo/{name}/{file}" for name in names for file in ("config.pbtxt", "labels.txt", "1/model.onnx")
    )
    for one, source in zip(served, (TINY, TINY_INT8, TINY_BATCH1), strict=True):
        assert (one.version, one.added, one.config, one.backend) == (1, True, "written", "onnxruntime")
        assert there[f"repo/{one.name}/1/model.onnx"] == source.read_bytes()
        assert there[f"repo/{one.name}/labels.txt"] == b"square\ndisc\ncross\n"
        assert one.sha256 == file_sha256(source)
        assert sorted(one.files) == sorted(
            f"{one.name}/{file}" for file in ("config.pbtxt", "labels.txt", "1/model.onnx")
        )
        assert parse_config((one.path / "config.pbtxt").read_text()).name == one.path.name
    assert [one.name for one in check_repository(tmp_path / "a" / "repo")] == sorted(names)


def test_the_same_file_again_adds_nothing(tmp_path: Path) -> None:
    package_triton([TINY], tmp_path / "repo")
    before = files(tmp_path)
    (again,) = package_triton([TINY], tmp_path / "repo")
    assert (again.version, again.added, again.config, again.files, again.notes) == (1, False, "kept", (), ())
    assert files(tmp_path) == before


def test_another_file_becomes_the_next_version_and_an_edited_configuration_stays(tmp_path: Path) -> None:
    package_triton([TINY], tmp_path / "repo")
    config = tmp_path / "repo" / "tiny" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 5 # ours"))
    (tmp_path / "repo" / "tiny" / "9").mkdir()
    edited = config.read_text()
    (served,) = package_triton([TINY_INT8], tmp_path / "repo", name="tiny")
    assert (served.version, served.added, served.config, served.max_batch) == (10, True, "kept", 5)
    assert served.files == ("tiny/10/model.onnx",)
    assert "is kept and differs from what was asked for: --force replaces it" in served.notes[0]
    assert config.read_text() == edited
    assert (tmp_path / "repo" / "tiny" / "1" / "model.onnx").read_bytes() == TINY.read_bytes()

    (served,) = package_triton([TINY_INT8], tmp_path / "repo", name="tiny", force=True)
    assert (served.version, served.added, served.config) == (10, False, "replaced")
    assert sorted(served.files) == ["tiny/config.pbtxt", "tiny/labels.txt"]
    assert "max_batch_size: 8" in config.read_text()
    assert "KIND_CPU" in config.read_text()


def test_a_kept_configuration_must_fit_the_new_file(tmp_path: Path, model: Model) -> None:
    repo = tmp_path / "repo"
    package_triton([TINY], repo)
    before = files(tmp_path)
    other = model("tiny.onnx")
    with pytest.raises(BadInput) as caught:
        package_triton([other], repo)
    assert "repo/tiny/config.pbtxt does not fit" in caught.value.message
    assert "input x of the graph is not in it" in caught.value.message
    assert "--force" in caught.value.hint
    with pytest.raises(BadInput, match="max_batch_size 8, the graph takes 1 images"):
        package_triton([TINY_BATCH1], repo, name="tiny")
    with pytest.raises(BadInput, match="expected backend tensorrt, got onnxruntime"):
        package_triton([TINY], repo, TritonOptions(backend="tensorrt"))

    names = repo / "tiny" / "labels.txt"
    names.write_text("a\nb\nc\n")
    with pytest.raises(BadInput, match="has other names"):
        package_triton([TINY_INT8], repo, name="tiny")
    names.write_bytes(before["repo/tiny/labels.txt"])
    (repo / "tiny" / "config.pbtxt").write_text("input {")
    with pytest.raises(BadInput, match=r"config.pbtxt, line 1: expected a field's name"):
        package_triton([TINY], repo)
    (repo / "tiny" / "config.pbtxt").write_bytes(before["repo/tiny/config.pbtxt"])
    assert {name: data for name, data in files(tmp_path).items() if name.startswith("repo")} == before


def test_one_bad_model_of_several_writes_none(tmp_path: Path, model: Model) -> None:
    (tmp_path / "damaged.onnx").write_bytes(TINY.read_bytes()[:200])
    before = files(tmp_path)
    with pytest.raises(BadInput, match="cut short"):
        package_triton([TINY, tmp_path / "damaged.onnx"], tmp_path / "new" / "repo")
    assert files(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "-a", ".hidden", "ä", "a%20", "x" * 201, "a\n"])
def test_names_that_triton_or_a_request_cannot_carry(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="model name"):
        package_triton([TINY], tmp_path / "repo", name=name)
    assert files(tmp_path) == {}


def test_two_models_of_one_name(tmp_path: Path) -> None:
    copy = tmp_path / "sub" / "tiny.onnx"
    copy.parent.mkdir()
    shutil.copy(TINY_INT8, copy)
    with pytest.raises(Contradiction, match="would both be model tiny"):
        package_triton([TINY, copy], tmp_path / "repo")
    with pytest.raises(Contradiction, match="one name for 2 models"):
        package_triton([TINY, copy], tmp_path / "repo", name="a")
    assert not (tmp_path / "repo").exists()


def test_a_folder_that_is_no_repository_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    with pytest.raises(BadInput, match="holds no model of Triton"):
        package_triton([TINY], tmp_path / "home")
    with pytest.raises(BadInput, match="a file"):
        package_triton([TINY], tmp_path / "home" / "thesis.tex")
    package_triton([TINY], tmp_path / "repo")
    (tmp_path / "repo" / "tiny.int8").mkdir()
    with pytest.raises(BadInput, match="is no model of Triton"):
        package_triton([TINY_INT8], tmp_path / "repo")
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["thesis.tex"]


def test_labels_that_are_not_lines(tmp_path: Path, model: Model) -> None:
    path = model("odd.onnx", "float[N,2] x", "float[N,2] y", node="y = Relu(x)", labels=("cat", "dog\nhouse"))
    with pytest.raises(BadInput, match="expected one line"):
        package_triton([path], tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def test_what_is_unknown_is_said(tmp_path: Path, model: Model) -> None:
    (served,) = package_triton([model("open.onnx", "float[N,3,H,W] x", "float[N,K] y")], tmp_path / "repo")
    assert [note.partition(":")[0] for note in served.notes] == ["no warm-up", "no labels"]
    assert not (served.path / "labels.txt").exists()


def test_the_plan_is_built_on_the_server(tmp_path: Path, parse_config: Parse) -> None:
    options = TritonOptions(backend="tensorrt", max_batch=16, preferred=(4,))
    (served,) = package_triton([TINY], tmp_path / "repo", options)
    script = served.path / "1" / "build_plan.sh"
    assert "tiny/1/build_plan.sh" in served.files
    assert str(script) in served.notes[-1]
    assert not (served.path / "1" / "model.plan").exists()
    with pytest.raises(BadInput, match=r"model.plan is missing"):
        check_repository(tmp_path / "repo")

    asked = run_plan_script(script, tmp_path)
    assert asked == [
        "--onnx=model.onnx",
        "--saveEngine=.model.plan",
        "--stronglyTyped",
        "--skipInference",
        "--minShapes=input:1x1x8x8",
        "--optShapes=input:4x1x8x8",
        "--maxShapes=input:16x1x8x8",
    ]
    assert sorted(path.name for path in script.parent.iterdir()) == ["build_plan.sh", "model.onnx", "model.plan"]
    assert check_repository(tmp_path / "repo")[0].backend == "tensorrt"
    assert parse_config((served.path / "config.pbtxt").read_text()).default_model_filename == "model.plan"

    # A further version is planned for the batch that the kept configuration serves.
    (second,) = package_triton(
        [edited(TINY, tmp_path)], tmp_path / "repo", TritonOptions(backend="tensorrt"), name="tiny"
    )
    assert (second.version, second.max_batch) == (2, 16)
    assert "maxShapes=input:16x1x8x8" in (served.path / "2" / "build_plan.sh").read_text()


def test_a_failed_plan_leaves_the_old_one(tmp_path: Path) -> None:
    (served,) = package_triton([TINY_BATCH1], tmp_path / "repo", TritonOptions(backend="tensorrt"))
    script = served.path / "1" / "build_plan.sh"
    (script.parent / "model.plan").write_text("old")
    assert "Shapes" not in script.read_text()
    tool = tool_that(tmp_path, "touch .model.plan; exit 3")
    done = subprocess.run(["sh", str(script)], env={**os.environ, "TRTEXEC": str(tool)}, check=False)
    assert done.returncode == 3
    assert (script.parent / "model.plan").read_text() == "old"
    assert not (script.parent / ".model.plan").exists()


def test_a_plan_needs_sizes(tmp_path: Path, model: Model) -> None:
    with pytest.raises(BadInput, match="expected sizes that TensorRT can plan for, got an open H"):
        package_triton(
            [model("open.onnx", "float[N,3,H,W] x", "float[N,K] y")],
            tmp_path / "repo",
            TritonOptions(backend="tensorrt"),
        )
    assert not (tmp_path / "repo").exists()


def edited(source: Path, folder: Path) -> Path:
    """A file of the same graph with another checksum."""
    model = onnx.load(source)
    model.doc_string = "another"
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


def tool_that(folder: Path, line: str) -> Path:
    """A program that stands for trtexec."""
    tool = folder / "trtexec"
    tool.write_text(f"#!/bin/sh\n{line}\n")
    tool.chmod(0o755)
    return tool


def run_plan_script(script: Path, folder: Path) -> list[str]:
    """Run a script with a trtexec that writes an engine, and return what it was asked for."""
    tool = tool_that(folder, f'printf "%s\\n" "$@" > "{folder}/asked"; test -f model.onnx; echo engine > .model.plan')
    subprocess.run(["sh", str(script)], env={**os.environ, "TRTEXEC": str(tool)}, check=True)
    return (folder / "asked").read_text().splitlines()


def test_check_finds_what_does_not_hold_together(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    package_triton([TINY], repo)
    whole = files(repo)
    config = repo / "tiny" / "config.pbtxt"
    faults = {
        "expected name tiny": lambda: config.write_text(config.read_text().replace('"tiny"', '"teeny"')),
        "labels.txt is missing": (repo / "tiny" / "labels.txt").unlink,
        "has other names": lambda: (repo / "tiny" / "labels.txt").write_text("a\nb\nc\n"),
        "model.onnx is missing": (repo / "tiny" / "1" / "model.onnx").unlink,
        "does not fit": lambda: shutil.copy(TINY_BATCH1, repo / "tiny" / "1" / "model.onnx"),
        "has no version": lambda: shutil.rmtree(repo / "tiny" / "1"),
    }
    for words, harm in faults.items():
        harm()
        with pytest.raises(BadInput, match=words):
            check_repository(repo)
        for name, data in whole.items():
            (repo / name).parent.mkdir(exist_ok=True)
            (repo / name).write_bytes(data)
    assert check_repository(repo)[0].versions == (1,)
    with pytest.raises(BadInput, match="holds no model"):
        check_repository(tmp_path)


def test_staging_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "x" / "y" / "repo") as stage:
        assert stage.parent == tmp_path / "x" / "y"
        (stage / "file").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with staging(tmp_path / "repo") as stage:
        (stage / "file").write_text("half")
    assert list(tmp_path.iterdir()) == []


def test_placing_is_all_or_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("old")
    repo = tmp_path / "repo"
    with pytest.raises(UnavailableError, match="cannot write"), staging(repo) as stage:
        (stage / "new").write_text("new")
        (stage / "other").mkdir()
        place([(stage / "new", old), (stage / "other", repo / "other"), (stage / "missing", repo / "c")], stage=stage)
    assert files(tmp_path) == {"old": b"old"}
    assert not (repo / "other").exists()
    assert not repo.exists()


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="in the meantime"), staging(tmp_path / "repo") as stage:
        (stage / "1").mkdir()
        (stage / "config").write_text("new")
        (tmp_path / "repo" / "1").mkdir(parents=True)
        (tmp_path / "repo" / "1" / "model.onnx").write_text("theirs")
        place([(stage / "config", tmp_path / "repo" / "config"), (stage / "1", tmp_path / "repo" / "1")], stage=stage)
    assert files(tmp_path) == {"repo/1/model.onnx": b"theirs"}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UnavailableError, match="Permission denied"):
        package_triton([TINY], tmp_path / "locked" / "repo")


def test_a_file_that_changes_while_it_is_copied(tmp_path: Path) -> None:
    artifact = replace(load_artifact(TINY), sha256="0" * 64)
    with pytest.raises(BadInput, match="changed while it was copied"):
        copy_model(artifact, tmp_path / "model.onnx")
