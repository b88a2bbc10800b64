"""`load`: from a file to a classifier, by way of a trial where the file is not known to be whole."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgecnn.artifacts import load_artifact
from edgecnn.classifier import Classifier
from edgecnn.errors import BadInput, Contradiction
from edgecnn.runtimes import AUTO, OpenOptions, check_scales, get_runtime
from edgecnn.seal import has_seal, sealed_later

if TYPE_CHECKING:
    from edgecnn.sealmemory import SealMemory
    from edgecnn.trial import Trial


def load(
    path: str | PathLike[str],
    *,
    backend: str = "cpu",
    preset: str | None = None,
    options: OpenOptions | None = None,
    trusted: bool | None = None,
    max_pixels: int | None = None,
) -> Classifier:
    """Return a classifier for a model file.

    Args:
        path: an .onnx file; one that edgecnn exported knows its labels and preprocessing. Or a deployment.toml of
            `edgecnn tune`, or the folder it lies in, which says what runs its file, and how.
        backend: what runs it; strict, there is no silent change to another. "auto" takes the fastest on this machine,
            which is measured in child processes for some seconds, once per file, machine and options; `info` tells it.
        preset: "latency", "embedded" or "shared", see `edgecnn.runtimes.presets`.
        options: threads and engine options, in place of a preset.
        trusted: whether the file may be given to the engine at once. Engines crash on some damaged files, and a crash takes
            the whole process along. None does so for a file with an intact seal of edgecnn and tries any other in a
            child process first (`edgecnn.trial`), once per file and machine; True never tries, False always does.
        max_pixels: larger image files are refused before they are decoded; None is `edgecnn.images.MAX_PIXELS`. Each pixel
            takes about 7 bytes meanwhile.

    Raises:
        BadInput: the file is missing, damaged, not a model that the engine reads, or it crashed or stopped the engine.
        UnknownName: no such backend or preset.
        Contradiction: preset and options both, or an option that the backend cannot honour.
        MissingDependency: the engine is not installed.
        RuntimeUnavailable: the backend cannot run here.
        UnavailableError: no child process can be started here.
    """
    path = _as_path(path)
    if path.suffix == ".toml" or path.is_dir():
        from edgecnn.deployment import deployment_in, resolve  # noqa: PLC0415 (most apps load the model file itself)

        path = deployment_in(path)
    if path.suffix == ".toml":
        path, backend, options = resolve(path, backend=backend, preset=preset, options=options)
        preset = None
    return load_with(path, backend=backend, options=_options(preset, options), trusted=trusted, max_pixels=max_pixels)


def load_with(
    path: str | PathLike[str],
    *,
    backend: str,
    options: OpenOptions,
    trusted: bool | None,
    trial: Trial | None = None,
    max_pixels: int | None = None,
) -> Classifier:
    """Return what `load` returns.

    Args:
        path: as for `load`.
        backend: as for `load`.
        options: threads and engine options.
        trusted: as for `load`.
        trial: a child process that is running already, of the same backend and options; for those who load many files.
        max_pixels: as for `load`.

    Raises:
        EdgecnnError: as `load`.
    """
    artifact = load_artifact(_as_path(path), checksum=False)
    # A built engine is code, which its backend opens only for those who say that they trust it.
    asked = trusted is None and artifact.format == "onnx"
    memory = _memory(artifact.path, options) if asked else None
    known = memory is not None and memory.fits()
    sealed = sealed_later(artifact.path) if asked and not known else None
    if backend == AUTO:
        from edgecnn.bench.choose import choose_backend  # noqa: PLC0415 (those who name a backend do not need it)

        backend = choose_backend(artifact, options=options).backend
    runtime = get_runtime(backend)
    runtime.check()
    check_scales(artifact, backend)
    whole = sealed is None or sealed()
    if not whole and has_seal(artifact.path):
        raise BadInput(
            f"{artifact.path} has changed since edgecnn wrote it: its check sum does not fit",
            "copy or export it again; trusted=True opens it all the same",
        )
    if trusted is False or not whole:
        from edgecnn.trial import try_first  # noqa: PLC0415 (files of edgecnn do not need it)

        try_first(artifact, backend, options, trial)
    classifier = Classifier(artifact, runtime.open(artifact, options), max_pixels=max_pixels)
    if memory is not None and sealed is not None and whole:
        memory.keep()
    return classifier


def _memory(path: Path, options: OpenOptions) -> SealMemory | None:
    """Return what remembers the file's seal; None for those who do not want anything kept."""
    if not options.cache:
        return None
    from edgecnn.sealmemory import SealMemory  # noqa: PLC0415 (few apps keep anything)

    return SealMemory(path, options.cache_folder)


def _options(preset: str | None, options: OpenOptions | None) -> OpenOptions:
    if options is not None and not isinstance(options, OpenOptions):
        raise BadInput("options", expected="an edgecnn.OpenOptions", got=type(options).__name__)
    if preset is None:
        return options or OpenOptions()
    if options is not None:
        raise Contradiction(
            "preset and options exclude each other",
            f"edgecnn.runtimes.presets.preset_options({preset!r}, threads=1) has both",
        )
    from edgecnn.runtimes.presets import preset_options  # noqa: PLC0415 (most apps have none)

    return preset_options(preset)


def _as_path(path: str | PathLike[str]) -> Path:
    if not isinstance(path, (str, PathLike)):
        raise BadInput("path", expected="the path of an .onnx file", got=type(path).__name__)
    if "\0" in str(path):
        raise BadInput(f"{str(path)!r} is not a path")
    return Path(path)
