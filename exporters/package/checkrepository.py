"""Does a Triton model repository hold together? Every model's configuration and labels beside every version's graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecnn.artifacts import load_artifact
from edgecnn.errors import BadInput
from edgecnn.exporters.package.configfit import label_files, misfit, read_config
from edgecnn.exporters.package.pbtxt import Fields
from edgecnn.exporters.package.plan import SCRIPT
from edgecnn.exporters.package.triton import CONFIG, is_model_folder, versions_of
from edgecnn.exporters.package.tritonconfig import MODEL_FILES
from edgecnn.specs import Artifact

_FIX = "edgecnn package MODEL --for triton --force writes the configuration anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedModel:
    """One model of a repository that holds together.

    Attributes:
        name: of the model.
        path: its folder.
        backend: that serves it.
        versions: the numbers of its versions.
    """

    name: str
    path: Path
    backend: str
    versions: tuple[int, ...]


def check_repository(repository: str | Path) -> tuple[CheckedModel, ...]:
    """Return the models of a repository, each compared with its graphs.

    Raises:
        BadInput: no model, a version without its file, or a configuration or labels that do not fit a graph.
    """
    repository = Path(repository)
    folders = sorted(one for one in repository.iterdir() if is_model_folder(one)) if repository.is_dir() else []
    if not folders:
        raise BadInput(f"{repository} holds no model of Triton", "give a folder that edgecnn package wrote")
    return tuple(_check_model(folder) for folder in folders)


def _check_model(folder: Path) -> CheckedModel:
    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    name = config.get("name", [folder.name])[-1]
    if name != folder.name:
        raise BadInput(str(folder / CONFIG), _FIX, expected=f"name {folder.name}, that of its folder", got=str(name))
    versions = versions_of(folder)
    if not versions:
        raise BadInput(f"{folder} has no version", "edgecnn package MODEL --for triton adds one")
    backend = str(config.get("backend", ["onnxruntime"])[-1])
    for version in versions:
        _check_version(folder, folder / str(version), backend, config)
    return CheckedModel(name=folder.name, path=folder, backend=backend, versions=tuple(versions))


def _check_version(folder: Path, version: Path, backend: str, config: Fields) -> None:
    served = version / MODEL_FILES.get(backend, "model.onnx")
    if not served.exists():
        hint = f"run {version / SCRIPT} on the server" if backend == "tensorrt" else "package the model again"
        raise BadInput(f"{served} is missing", hint)
    graph = version / "model.onnx"
    if graph.is_file():
        artifact = load_artifact(graph, checksum=False)
        if found := misfit(config, artifact):
            raise BadInput(f"{folder / CONFIG} does not fit {graph}: {found}", _FIX)
        _check_labels(folder, artifact, config)


def _check_labels(folder: Path, artifact: Artifact, config: Fields) -> None:
    for name in label_files(config):
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{path} is missing", _FIX)
        lines = tuple(path.read_text(encoding="utf-8", errors="replace").splitlines())
        if artifact.spec.labels and lines != artifact.spec.labels:
            raise BadInput(f"{path} has other names than {artifact.path}", _FIX)
