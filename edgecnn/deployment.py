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
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, Contradiction
from edgecnn.files import replacing
from edgecnn.jsonform import from_json, to_json
from edgecnn.runtimes.base import OpenOptions
from edgecnn.runtimes.presets import preset_options
from edgecnn.specs import Precision
from edgecnn.toml import read_toml

SCHEMA = "edgecnn.deployment/1"

FILE_NAME = "deployment.toml"

DEFAULT_BACKEND = "cpu"
"""What `edgecnn.load` takes when nothing is said; it cannot be told from saying so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPart:
    """The model file.

    Attributes:
        file: its path relative to the deployment.toml, in the same folder or below.
        sha256: of the file, hexadecimal.
        network: zoo name or the model's own name.
        variant: what differs from the network's plain form.
        precision: of the file.
        size_bytes: of the file.
    """

    file: str
    sha256: str
    network: str = ""
    variant: str = ""
    precision: Precision | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """How it is run.

    Attributes:
        backend: name of the runtime.
        preset: what the options were taken from, and what else it sets on the machine where it is loaded.
        batch: images per run; a session is promised no larger one.
        threads: of one operator, null where the backend chooses.
        spinning: see `edgecnn.runtimes.base.OpenOptions`.
        arena: likewise.
        cache: likewise.
    """

    backend: str
    preset: str = "latency"
    batch: int = 1
    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    cache: bool | None = None

    @property
    def options(self) -> OpenOptions:
        """How a session is opened.

        Raises:
            UnknownName: no such preset.
            BadInput: a value that cannot be.
        """
        return preset_options(
            self.preset,
            threads=self.threads,
            spinning=self.spinning,
            arena=self.arena,
            cache=self.cache,
            max_batch=self.batch,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPart:
    """What was measured where it was found; other machines have other figures.

    Attributes:
        latency_ns: median of a run with its batch.
        latency_ci95_ns: 95% interval of that median.
        latency_p90_ns: 90th percentile.
        throughput: images per second.
        memory_bytes: greatest resident size of the process.
        energy_mj: gross, of one image.
        energy_reason: why energy is not there.
        accuracy: top-1, 0..1.
        accuracy_reason: why accuracy is not there.
        dataset: what accuracy was measured on.
        drop_points: top-1 below that of the fp32 file, percentage points.
        verdict: "valid", "suspect" or "invalid".
        reasons: what speaks against the measurement.
    """

    latency_ns: float
    latency_ci95_ns: tuple[float, float] | None = None
    latency_p90_ns: float | None = None
    throughput: float | None = None
    memory_bytes: float | None = None
    energy_mj: float | None = None
    energy_reason: str = ""
    accuracy: float | None = None
    accuracy_reason: str = ""
    dataset: str = ""
    drop_points: float | None = None
    verdict: Literal["valid", "suspect", "invalid"] | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePart:
    """Where it was found.

    Attributes:
        profile: id of the device profile.
        board: what the machine calls itself.
        cpu: name of the processor.
        arch: "x86_64", "aarch64", ...
        cores: processors that are online.
        threads: that could run at once.
        memory_bytes: installed.
        governor: cpufreq governor.
        gpu: name.
        engine: that ran it.
        engine_version: of the engine.
    """

    profile: str | None = None
    board: str | None = None
    cpu: str | None = None
    arch: str | None = None
    cores: int | None = None
    threads: int | None = None
    memory_bytes: int | None = None
    governor: str | None = None
    gpu: str | None = None
    engine: str | None = None
    engine_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePart:
    """By what it was written.

    Attributes:
        edgecnn: version.
        time_utc: ISO 8601.
        budget: what was asked for, as `--budget` takes it.
        prefer: what was preferred among what holds the budget.
        seed: of the search.
    """

    edgecnn: str
    time_utc: str = ""
    budget: str = ""
    prefer: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model file and how it is run.

    Attributes:
        schema: "edgecnn.deployment/1".
        artifact: the file.
        run: how it is run.
        measured: what was measured, null where nothing was.
        machine: where.
        made: by what.
    """

    schema: Literal["edgecnn.deployment/1"] = "edgecnn.deployment/1"
    artifact: ArtifactPart
    run: RunPart
    measured: MeasuredPart | None = None
    machine: MachinePart | None = None
    made: MadePart | None = None


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
