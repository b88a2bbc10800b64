"""Engines as files of their own: NAME.engine and beside it NAME.engine.json, which says what the engine is.

An engine holds no names of classes, no preprocessing and nothing about where it came from, and it runs on one kind of GPU
with one version of TensorRT alone. The file beside it has all that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from edgecnn.artifacts import ENGINE_SUFFIXES, file_sha256
from edgecnn.errors import BadInput
from edgecnn.files import replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.specs import Artifact, ModelSpec, Precision

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNote:
    """What the file beside an engine says.

    Attributes:
        sha256: of the engine's file.
        model: file name of the .onnx file that it was built from.
        key: what it depends on, see `edgecnn.runtimes.trt.engine_key`.
        precision: of the model.
        spec: of the model.
    """

    sha256: str
    model: str
    key: Mapping[str, Any] = field(default_factory=dict)
    precision: Precision
    spec: ModelSpec


def note_path(path: Path) -> Path:
    """Return where the file beside an engine lies."""
    return path.with_name(f"{path.name}.json")


def write_engine(path: Path, plan: bytes, artifact: Artifact, key: Mapping[str, Any]) -> None:
    """Write an engine and the file beside it.

    Args:
        path: the engine's file; its suffix is one of `ENGINE_SUFFIXES`.
        plan: the engine.
        artifact: the model that it was built from.
        key: what it depends on.

    Raises:
        BadInput: another suffix.
        UnavailableError: the folder cannot be written to, or the disk is full.
    """
    if path.suffix not in ENGINE_SUFFIXES:
        raise BadInput(
            f"{path}", expected=f"a name that ends in {' or '.join(ENGINE_SUFFIXES)}", got=path.suffix or "none"
        )
    with replacing(path) as unfinished:
        unfinished.write_bytes(plan)
    note = {
        "schema": _SCHEMA,
        "sha256": file_sha256(path),
        "model": artifact.path.name,
        "key": to_json(key),
        "precision": artifact.precision,
        "spec": to_json(artifact.spec),
    }
    with replacing(note_path(path)) as unfinished:
        unfinished.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def read_note(path: Path) -> EngineNote | None:
    """Return what the file beside an engine says; None where there is none.

    Raises:
        BadInput: it is damaged.
    """
    where = note_path(path)
    try:
        data = json.loads(where.read_text(encoding="utf-8"))
        key, precision = data["key"], data["precision"]
        if not isinstance(key, dict) or precision not in get_args(Precision):
            raise ValueError("key or precision")
        return EngineNote(
            sha256=str(data["sha256"]),
            model=Path(str(data["model"])).name,
            key=key,
            precision=precision,
            spec=from_json(ModelSpec, data["spec"], where=f"{where}: spec", ignore_unknown=True),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            f"{where} does not say what the engine is: {type(error).__name__} {error}",
            "remove it, or write both files again",
        ) from None


def load_engine_artifact(path: Path) -> Artifact:
    """Return what is known about an engine's file without TensorRT; without a file beside it, no more than its size.

    Raises:
        BadInput: it is missing or empty, or the file beside it is damaged or is of another engine.
    """
    try:
        size, sha256 = path.stat().st_size, file_sha256(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    if not size:
        raise BadInput(f"{path} is empty", "build it again")
    note = read_note(path)
    if note is not None and note.sha256 != sha256:
        raise BadInput(f"{note_path(path)} is of another engine", "remove it, or write both files again")
    return Artifact(
        path=path,
        format="engine",
        precision=note.precision if note else "mixed",
        sha256=sha256,
        size_bytes=size,
        spec=note.spec if note else ModelSpec(network=path.stem, inputs=(), outputs=()),
    )
