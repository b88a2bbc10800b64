"""A Triton model repository: one folder a model, in it config.pbtxt, labels.txt and one numbered folder a version.

Layout: https://github.com/triton-inference-server/server, docs/user_guide/model_repository.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.errors import BadInput, Contradiction
from edgecnn.exporters.package.configfit import misfit, read_config
from edgecnn.exporters.package.folders import check_target, copy_model, place, staging, write_file
from edgecnn.exporters.package.pbtxt import Message, write_text
from edgecnn.exporters.package.plan import SCRIPT, plan_script
from edgecnn.exporters.package.source import LABELS, labels_text, stated_targets
from edgecnn.exporters.package.tritonconfig import max_batch_of, triton_config
from edgecnn.exporters.package.tritonoptions import TritonOptions
from edgecnn.specs import Artifact

CONFIG = "config.pbtxt"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")

_HEAD = "# Written by edgecnn package. Edited, it is kept when a further version is added; --force writes it anew.\n"

Action = Literal["written", "replaced", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model in a repository.

    Attributes:
        name: that clients ask for.
        path: its folder.
        version: the number of the folder that holds the file.
        added: whether that version is new; False where the newest one there is this very file.
        backend: that runs it.
        max_batch: max_batch_size of the configuration that these options give.
        config: what happened to config.pbtxt and the labels.
        files: what was written, relative to the repository.
        sha256: of the model file.
        notes: what the user should know.
    """

    name: str
    path: Path
    version: int
    added: bool
    backend: str
    max_batch: int
    config: Action
    files: tuple[str, ...]
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be written for one model; nothing is written before all models have theirs.

    Attributes:
        artifact: the file.
        served: what is told about it.
        texts: name below the model's folder -> content.
    """

    artifact: Artifact
    served: ServedModel
    texts: dict[str, str]


def package_triton(
    sources: Sequence[str | Path],
    repository: str | Path,
    options: TritonOptions | None = None,
    *,
    name: str = "",
    force: bool = False,
) -> tuple[ServedModel, ...]:
    """Add models to a Triton model repository, all of them or none, and return what is there now.

    A model whose folder is there gets the next version number; its configuration and labels stay unless `force` is set,
    and must fit the new file. The same file again adds nothing.

    Args:
        sources: the .onnx files.
        repository: the folder; made where it is missing.
        options: how the models are served.
        name: of the model, for one source; the stem of its file otherwise.
        force: write the configuration and the labels anew.

    Raises:
        BadInput: a file that is no model, a name that Triton refuses or a folder that is not a repository, or a kept
            configuration that does not fit.
        Contradiction: options that exclude each other or the file, or two sources of one name.
        UnavailableError: the repository cannot be written to.
    """
    options, repository = options or TritonOptions(), Path(repository)
    _check_repository(repository)
    check_target(repository)
    if name and len(sources) > 1:
        raise Contradiction(f"one name for {len(sources)} models", "leave --name out, or give one model")
    plans: list[_Plan] = []
    for source in sources:
        plan = _plan(Path(source), repository, options, name, force)
        twin = next((one for one in plans if one.served.name == plan.served.name), None)
        if twin is not None:
            raise Contradiction(
                f"{twin.artifact.path} and {plan.artifact.path} would both be model {plan.served.name}",
                "package one of them with --name",
            )
        plans.append(plan)
    _write(plans, repository)
    return tuple(plan.served for plan in plans)


def model_name(path: Path, name: str = "") -> str:
    """Return the name under which a file is served: `name`, or the file's stem.

    Raises:
        BadInput: it is not a plain folder name. Triton refuses "..", "/" and empty names; blanks and marks would have to be
            encoded in every request.
    """
    wanted = name or path.stem
    if not _NAME.fullmatch(wanted):
        raise BadInput(
            "model name",
            "give another with --name",
            expected="letters, digits, _ . - with a letter or digit first",
            got=repr(wanted),
        )
    return wanted


def versions_of(folder: Path) -> list[int]:
    """Return the version numbers in a model's folder, ascending."""
    found = [child.name for child in folder.iterdir() if child.is_dir()] if folder.is_dir() else []
    return sorted(int(name) for name in found if name.isascii() and name.isdigit() and name[0] != "0")


def is_model_folder(folder: Path) -> bool:
    """Tell whether a folder looks like a model of a Triton repository."""
    return folder.is_dir() and ((folder / CONFIG).is_file() or bool(versions_of(folder)))


def _check_repository(repository: Path) -> None:
    if repository.exists() and not repository.is_dir():
        raise BadInput("output", expected="a folder, the model repository", got=f"{repository}, a file")
    entries = [one for one in repository.iterdir() if one.name[0] != "."] if repository.is_dir() else []
    if entries and not any(is_model_folder(entry) for entry in entries):
        raise BadInput(
            f"{repository} is not empty and holds no model of Triton", "choose an empty folder or a model repository"
        )


def _plan(source: Path, repository: Path, options: TritonOptions, name: str, force: bool) -> _Plan:
    artifact = load_artifact(source)
    wanted = model_name(source, name)
    folder = repository / wanted
    if folder.exists() and not is_model_folder(folder):
        raise BadInput(f"{folder} is there and is no model of Triton", "choose another name with --name")
    there = (folder / CONFIG).exists()
    newest = max(versions_of(folder), default=0)
    added = not _holds(folder / str(newest), artifact)
    config = triton_config(artifact, wanted, options)
    texts, notes = _texts(artifact, config), _notes(artifact, config, options)
    if there and not force:
        kept, notes = _keep(folder, artifact, config, texts)
        texts, options = {}, replace(options, max_batch=kept)
    version = newest + 1 if added else newest
    if options.backend == "tensorrt" and (added or texts):
        texts[f"{version}/{SCRIPT}"] = plan_script(artifact, options)
        notes += (f"no plan yet: run {folder / str(version) / SCRIPT} on the server, in the container that serves",)
    served = ServedModel(
        name=wanted,
        path=folder,
        version=version,
        added=added,
        backend=options.backend,
        max_batch=max_batch_of(artifact, options),
        config="written" if not there else "replaced" if force else "kept",
        files=(),
        sha256=artifact.sha256 or "",
        notes=notes,
    )
    return _Plan(artifact=artifact, served=served, texts=texts)


def _texts(artifact: Artifact, config: Message) -> dict[str, str]:
    """Return the files of a model's own folder."""
    texts = {CONFIG: _HEAD + write_text(config)}
    if labels := labels_text(artifact):
        texts[LABELS] = labels
    return texts


def _holds(folder: Path, artifact: Artifact) -> bool:
    model = folder / "model.onnx"
    return model.is_file() and file_sha256(model) == artifact.sha256


def _notes(artifact: Artifact, config: Message, options: TritonOptions) -> tuple[str, ...]:
    notes = []
    if options.warmup != "none" and "model_warmup" not in config:
        notes.append("no warm-up: the graph leaves sizes open and the file does not say how images become its input")
    if not artifact.spec.labels:
        notes.append("no labels: the file names none")
    if artifact.precision == "int8" and not stated_targets(artifact):
        notes.append("the file does not say which target its int8 form is for")
    return tuple(notes)


def _keep(folder: Path, artifact: Artifact, config: Message, texts: dict[str, str]) -> tuple[int, tuple[str, ...]]:
    """Return the max_batch_size of a configuration that stays, and what to know about it.

    Raises:
        BadInput: it, or its labels, are not those of this file.
    """
    path, labels = folder / CONFIG, folder / LABELS
    fix = "--force writes them anew, --name makes it another model"
    existing = read_config(path)
    if found := misfit(existing, artifact):
        raise BadInput(f"{path} does not fit {artifact.path}: {found}", fix)
    backend = existing.get("backend", [config["backend"]])[-1]
    if backend != config["backend"]:
        raise BadInput(str(path), fix, expected=f"backend {config['backend']}", got=str(backend))
    if LABELS in texts and labels.is_file() and labels.read_text(encoding="utf-8") != texts[LABELS]:
        raise BadInput(f"{labels} has other names than {artifact.path}", fix)
    same = path.read_text(encoding="utf-8") == texts[CONFIG]
    notes = () if same else (f"{path} is kept and differs from what was asked for: --force replaces it",)
    return int(existing.get("max_batch_size", [0])[-1]), notes


def _write(plans: list[_Plan], repository: Path) -> None:
    """Build everything beside the repository, then move it into place."""
    with staging(repository) as stage:
        moves: list[tuple[Path, Path]] = []
        for index, plan in enumerate(plans):
            built = stage / plan.served.name
            _build(plan, built)
            files = sorted(path.relative_to(built) for path in built.rglob("*") if path.is_file())
            moves += _moves(built, plan.served.path)
            names = tuple(f"{plan.served.name}/{file.as_posix()}" for file in files)
            plans[index] = replace(plan, served=replace(plan.served, files=names))
        place(moves, stage=stage)


def _moves(built: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the fewest moves that bring a built folder to its place, files of what is there replaced one by one.

    A version's folder comes last: a server that watches sees it when its configuration is there.
    """
    if not target.exists():
        return [(built, target)]
    found = []
    for child in sorted(built.iterdir(), key=Path.is_dir):
        found += _moves(child, target / child.name) if child.is_dir() else [(child, target / child.name)]
    return found


def _build(plan: _Plan, folder: Path) -> None:
    folder.mkdir()
    for name, text in plan.texts.items():
        write_file(folder / name, text)
    if plan.served.added:
        copy_model(plan.artifact, folder / str(plan.served.version) / "model.onnx")
