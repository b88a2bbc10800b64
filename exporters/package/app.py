"""A folder for an application: the model, an example that runs as it is, fixed requirements and a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgecnn
from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.package.appfiles import (
    check_wheel,
    example_text,
    is_tested,
    readme_text,
    requirements,
    requirements_text,
)
from edgecnn.exporters.package.folders import check_target, copy_model, place, staging, write_file
from edgecnn.exporters.package.manifest import SUMS, PackagedFile, check_manifest, list_files, write_manifest
from edgecnn.exporters.package.source import (
    LABELS,
    check_pixels_for_trt,
    check_scaling,
    labels_text,
    stated_targets,
)
from edgecnn.exporters.scaling import RESIZE_TARGETS
from edgecnn.exporters.targets import DEFAULT_TARGET, Target, find_target
from edgecnn.jsonform import to_json
from edgecnn.runtimes import PLUGINS
from edgecnn.specs import Artifact

MANIFEST = "manifest.json"

SCHEMA = "edgecnn.package/1"
"""Value of the key "schema" of manifest.json."""

_RESERVED = {"example.py", "requirements.txt", "README.md", LABELS, MANIFEST, SUMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFolder:
    """A folder that was written, or checked.

    Attributes:
        path: the folder.
        model: name of the model file in it.
        target: what it is for.
        backend: that the example uses.
        requirements: the lines of requirements.txt.
        files: what is in it, but for the manifest SHA256SUMS itself.
        notes: what the user should know.
    """

    path: Path
    model: str
    target: str
    backend: str
    requirements: tuple[str, ...]
    files: tuple[PackagedFile, ...]
    notes: tuple[str, ...] = ()


def package_app(
    source: str | Path,
    folder: str | Path,
    *,
    target: str = "",
    wheel: str | Path | None = None,
    force: bool = False,
) -> AppFolder:
    """Write a folder from which an application can classify images on the target.

    Args:
        source: the .onnx file.
        folder: where to; it must not be there or be empty.
        target: what it runs on; empty for the target that the file names, or cpu-x86.
        wheel: edgecnn's own wheel, of this version; it is put into the folder, and pip finds it there.
        force: replace a folder that edgecnn wrote before.

    Raises:
        BadInput: a file that is no model or does not say how images become its input, a folder that is not empty, or a wheel
            of something else.
        Contradiction: a target that the file is not for.
        UnknownName: no such target.
        UnavailableError: the folder cannot be written.
    """
    folder = Path(folder)
    check_target(folder)
    artifact = load_artifact(Path(source))
    _check_source(artifact)
    chosen = _target(artifact, target)
    _check_folder(folder, force)
    carried = check_wheel(Path(wheel)) if wheel is not None else None
    with staging(folder) as stage:
        built = stage / "folder"
        files = _build(artifact, chosen, carried, built)
        # An empty folder may be a mount, which cannot be replaced: it is filled.
        filled = folder.is_dir() and not any(folder.iterdir())
        moves = [(child, folder / child.name) for child in sorted(built.iterdir())] if filled else [(built, folder)]
        place(moves, stage=stage, replace_folders=force)
    return AppFolder(
        path=folder,
        model=artifact.path.name,
        target=chosen.name,
        backend=chosen.backend,
        requirements=requirements(chosen),
        files=files,
        notes=_notes(artifact, chosen),
    )


def check_app(folder: str | Path) -> AppFolder:
    """Return what an application folder holds, every file of it compared with the manifest.

    Raises:
        BadInput: it is not such a folder, or a file is missing, changed or not in the manifest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder", "give one that edgecnn package --for app wrote")
    files = check_manifest(folder)
    manifest = _manifest_of(folder)
    if manifest is None:
        raise BadInput(f"{folder / MANIFEST}", expected=f"schema {SCHEMA}", got="another or none")
    return AppFolder(
        path=folder,
        model=str(manifest.get("model", "")),
        target=str(manifest.get("target", "")),
        backend=str(manifest.get("backend", "")),
        requirements=tuple(str(line) for line in manifest.get("requirements", ())),
        files=files,
    )


def _check_source(artifact: Artifact) -> None:
    if artifact.spec.preprocess is None:
        raise BadInput(
            f"{artifact.path} does not say how images become its input, so that an example could not use it",
            "edgecnn export FILE with the preprocessing that it was trained with writes it in; --for triton needs none",
        )
    name = artifact.path.name
    if name in _RESERVED or not name.isprintable() or "\\" in name:
        raise BadInput("model", "rename the file", expected="a plain file name of its own", got=repr(name))


def _target(artifact: Artifact, name: str) -> Target:
    """Return the target that is asked for or that the file names first.

    Raises:
        Contradiction: the file is of a precision that the target refuses, takes pixels as it does not, or its int8 form is for
            others.
    """
    stated = stated_targets(artifact)
    target = find_target(name or (stated[0] if stated else DEFAULT_TARGET))
    target.require(artifact.precision)
    check_scaling(artifact, f"target {target.name}", scales=target.name in RESIZE_TARGETS)
    if target.name == "trt":
        check_pixels_for_trt(artifact)
    if name and artifact.precision == "int8" and stated and name not in stated:
        raise Contradiction(
            f"{artifact.path} was quantized for {', '.join(stated)}, not for {name}",
            f"edgecnn quantize MODEL --target {name}, or leave --target out",
        )
    return target


def _check_folder(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput("output", expected="a folder", got=f"{folder}, a file")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    ours = _manifest_of(folder) is not None
    if not (ours and force):
        hint = "--force replaces it, or choose another" if ours else "choose another"
        raise BadInput("output", hint, expected="a new or empty folder", got=f"{folder}, which has files")


def _manifest_of(folder: Path) -> Mapping[str, Any] | None:
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.get("schema") == SCHEMA else None


def _build(artifact: Artifact, target: Target, wheel: Path | None, folder: Path) -> tuple[PackagedFile, ...]:
    name, spec = artifact.path.name, artifact.spec
    folder.mkdir()
    copy_model(artifact, folder / name)
    texts = {
        "example.py": example_text(name, target.backend),
        "requirements.txt": requirements_text(target, has_wheel=wheel is not None),
        "README.md": readme_text(artifact, target, has_wheel=wheel is not None),
    }
    if wheel is not None:
        shutil.copyfile(wheel, folder / wheel.name)
    if labels := labels_text(artifact):
        texts[LABELS] = labels
    for file, text in texts.items():
        write_file(folder / file, text)
    manifest = {
        "schema": SCHEMA,
        "edgecnn": edgecnn.__version__,
        "model": name,
        "target": target.name,
        "backend": target.backend,
        "precision": artifact.precision,
        "opset": artifact.opset,
        "requirements": requirements(target),
        "files": list_files(folder),
        "spec": spec,
        "lineage": artifact.lineage,
    }
    write_file(folder / MANIFEST, json.dumps(to_json(manifest), indent=2, ensure_ascii=False) + "\n")
    return write_manifest(folder)


def _notes(artifact: Artifact, target: Target) -> tuple[str, ...]:
    notes = []
    if target.backend not in PLUGINS.names():
        notes.append(
            f"backend {target.backend} is not in edgecnn {edgecnn.__version__}: the example runs where a plug-in gives it"
        )
    elif not is_tested(target):
        notes.append(f"the versions for target {target.name} are not tested")
    if not artifact.spec.accuracy and artifact.spec.weights != "random":
        notes.append("accuracy not measured")
    return tuple(notes)
