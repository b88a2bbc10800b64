"""deployment.toml: a model file and how it is to be run, as `edgecnn tune` found it, for `edgecnn.load`.

    schema = "edgecnn.deployment/1"
    [artifact]   file (beside the .toml), sha256, network, variant, precision, size_bytes
    [run]        backend, preset, batch, threads, spinning, arena, cache
    [measured]   the figures of the machine where it was found, with verdict and reasons
    [machine]    that machine
    [budget]     what was asked for
    [made]       by what, when

What is unknown is left out. Only what is listed for [run] is ever read from it: a file of this kind cannot make a backend
load code.
"""

from __future__ import annotations

import json
from dataclasses import fields
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from edgecnn.artifacts import file_sha256
from edgecnn.deploymentparts import Deployment
from edgecnn.errors import BadInput, Contradiction
from edgecnn.files import replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.runtimes.base import OpenOptions
from edgecnn.toml import read_toml

SCHEMA = "edgecnn.deployment/1"

FILE_NAME = "deployment.toml"

DEFAULT_BACKEND = "cpu"
"""What `edgecnn.load` takes when nothing is said; it cannot be told from saying so."""


def write_deployment(path: Path, deployment: Deployment) -> None:
    """Write a deployment.toml in one step.

    Raises:
        BadInput: a text that UTF-8 has no bytes for.
        UnavailableError: the folder cannot be written to.
    """
    text = dumps(deployment)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def dumps(deployment: Deployment) -> str:
    """Return a deployment as TOML.

    Raises:
        BadInput: a text that UTF-8 has no bytes for.
    """
    lines = [f"schema = {_value(deployment.schema)}"]
    for part in fields(deployment):
        value = getattr(deployment, part.name)
        if part.name == "schema" or value is None:
            continue
        lines += ["", f"[{part.name}]"]
        entries = ((name, item) for name, item in to_json(value).items() if item not in (None, "", []))
        lines += [f"{name} = {_value(item)}" for name, item in entries]
    return "\n".join(lines) + "\n"


def read_deployment(path: Path) -> Deployment:
    """Return what a deployment.toml says.

    Raises:
        BadInput: the file is missing, not TOML, of another schema, or a value in it cannot be.
        UnknownName: no such preset.
    """
    document = read_toml(path)
    if document.get("schema") != SCHEMA:
        raise BadInput(
            f"{path}: schema",
            "edgecnn tune writes such files; a newer edgecnn may have written this one",
            expected=SCHEMA,
            got=repr(document.get("schema")),
        )
    found = from_json(Deployment, document, where=str(path), ignore_unknown=True)
    if found.run.batch < 1:
        raise BadInput(f"{path}.run.batch", expected="at least 1", got=str(found.run.batch))
    _ = found.run.options  # said now, not when it is opened
    return found


def deployment_in(path: Path) -> Path:
    """Return the deployment.toml of a folder; the path itself where it is no folder, or has none."""
    inside = path / FILE_NAME
    return inside if inside.is_file() else path


def instead_of(path: Path) -> str:
    """Return what to give in place of a deployment where a model file is wanted, empty where the path is no deployment.

    Args:
        path: a deployment.toml, or a folder.

    Raises:
        BadInput: the deployment cannot be read.
    """
    path = deployment_in(path)
    if path.is_dir():
        return ""
    found = read_deployment(path)
    run = found.run
    options = [("backend", run.backend), ("preset", run.preset), ("threads", run.threads)]
    given = " ".join(f"--{name} {value}" for name, value in options if value is not None)
    return (
        f"give its model file and how it is run: {artifact_path(path, found)} {given}; "
        f"edgecnn.load({str(path)!r}) opens it as it is"
    )


def artifact_path(path: Path, deployment: Deployment) -> Path:
    """Return where the model file of a deployment lies; it is in the same folder or below.

    Raises:
        BadInput: the file leads elsewhere.
    """
    relative = PurePosixPath(deployment.artifact.file)
    if relative.is_absolute() or ".." in relative.parts or not relative.name or "\0" in str(relative):
        raise BadInput(f"{path}.artifact.file", expected="a path within the folder", got=repr(deployment.artifact.file))
    return path.parent / relative


def resolve(
    path: str | PathLike[str], *, backend: str = DEFAULT_BACKEND, preset: str | None, options: OpenOptions | None
) -> tuple[Path, str, OpenOptions]:
    """Return model file, backend and options of a deployment.toml; the file is checked against its SHA-256.

    Args:
        path: the deployment.toml.
        backend: what the caller asked for; anything but the default must be what the deployment says.
        preset: likewise, None for nothing.
        options: likewise.

    Raises:
        BadInput: the deployment cannot be read, or its model file is missing or another one than was measured.
        Contradiction: the caller asks for something else than the deployment says.
    """
    path = Path(path)
    found = read_deployment(path)
    if backend not in (DEFAULT_BACKEND, found.run.backend) or preset not in (None, found.run.preset) or options:
        raise Contradiction(
            f"{path} says how its model is run: {found.run.backend}, {found.run.preset}",
            f"leave backend, preset and options out, or load {found.artifact.file} itself",
        )
    model = artifact_path(path, found)
    if model.suffix != ".onnx":
        # A built engine is code; who wants to run one says so himself.
        raise BadInput(f"{path}.artifact.file", expected="an .onnx file", got=model.name)
    if not model.is_file():
        raise BadInput(f"{model} does not exist", f"it belongs beside {path.name}: copy both")
    sha256 = file_sha256(model)
    if sha256 != found.artifact.sha256:
        raise BadInput(
            f"{model} is not the file that was tuned",
            "copy the whole folder again, or tune again",
            expected=f"SHA-256 {found.artifact.sha256}",
            got=sha256,
        )
    return model, found.run.backend, found.run.options


def _value(value: Any) -> str:
    """Return a value as TOML 1.0 has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _text(str(value))


def _text(text: str) -> str:
    """Return a basic string; JSON's escapes are TOML's, but for the delete character, which JSON leaves as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("text of a deployment", expected="what UTF-8 can write", got=ascii(text)) from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
