"""Backend `trt`: opening a model with TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecnn.artifacts import file_sha256, load_artifact
from edgecnn.errors import BadInput, RuntimeUnavailable
from edgecnn.runtimes.base import OpenOptions, Session
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice, check, load_cudart
from edgecnn.runtimes.trt.engine_file import read_note, write_engine
from edgecnn.runtimes.trt.engine_key import differences, machine_key
from edgecnn.runtimes.trt.engines import EngineSource, LoadedEngine, deserialize
from edgecnn.runtimes.trt.execution import Built, TrtSession
from edgecnn.runtimes.trt.logger import last_errors
from edgecnn.runtimes.trt.options import build_options, check_options, device_ordinal, timing_cache_wanted
from edgecnn.runtimes.trt.package import available_trt
from edgecnn.runtimes.trt.progress import Progress
from edgecnn.specs import Artifact, Scalar

_UNTRUSTED_HINT = (
    "open the .onnx file, whose engine edgecnn builds and keeps itself; for a file that you built: "
    "OpenOptions(trust_engine=True), --trust-engine on the command line"
)


class TrtRuntime:
    """TensorRT on an NVIDIA GPU.

    Opening a model builds its engine, seconds to minutes, unless the cache has it; `docs/tensorrt.md` has the options.
    Runs of one session follow each other: calls from several threads are safe and wait.

    Args:
        flavour: "tensorrt", or "tensorrt_rtx" for TensorRT for RTX.
        cudart: the CUDA runtime, or a fake; None loads it.
        progress: told how far a build is.
    """

    name = "trt"
    formats = ("onnx", "engine")

    def __init__(self, flavour: str = "tensorrt", *, cudart: Any = None, progress: Progress | None = None) -> None:
        self._flavour = flavour
        self._cudart = cudart
        self._progress = progress

    def check(self) -> None:
        """Return if there is a GPU that works, and TensorRT can be imported; the GPU is asked for first.

        Raises:
            RuntimeUnavailable: no driver, no GPU, or an installation of TensorRT that does not load.
            MissingDependency: TensorRT or cuda-bindings is not installed.
        """
        available_trt(self._flavour, cudart=self._cudart)

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session for an .onnx file, or for a built engine that is trusted.

        Raises:
            BadInput: TensorRT does not read the file or would compute it wrongly, or an engine that is not trusted.
            ModelError: TensorRT finds no way to build it.
            UnknownName: an engine option that this backend does not have.
            Contradiction: an option that it cannot honour.
            UnavailableError: the cache cannot be used; the GPU or TensorRT cannot.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx or .engine file", got=artifact.format)
        check_options(options)
        if artifact.format == "engine" and not options.trust_engine:
            raise BadInput(f"{artifact.path} is executable code that did not come out of the cache", _UNTRUSTED_HINT)
        if artifact.format == "onnx":
            build_options(artifact, options)  # what is wrong in the request is said before the GPU is touched
        trt, device = available_trt(self._flavour, ordinal=device_ordinal(options), cudart=self._cudart)
        opener = _Opener(trt, self._cudart or load_cudart(), device, options, self._progress)
        return opener.engine_file(artifact) if artifact.format == "engine" else opener.model(artifact)

    def save_engine(self, artifact: Artifact, path: Path, options: OpenOptions | None = None) -> None:
        """Write the engine of a model for this GPU as a file, with a file beside it that says what it is.

        Args:
            artifact: the .onnx file.
            path: NAME.engine or NAME.plan.
            options: as for `open`.

        Raises:
            EdgecnnError: as `open`; or the file cannot be written.
        """
        options = options or OpenOptions()
        check_options(options)
        trt, device = available_trt(self._flavour, ordinal=device_ordinal(options), cudart=self._cudart)
        opener = _Opener(trt, self._cudart or load_cudart(), device, options, self._progress)
        plan, key = opener.plan(artifact)
        write_engine(path, plan, artifact, key)


class _Opener:
    """Opens models on a GPU that works."""

    def __init__(
        self, trt: Any, cudart: Any, device: CudaDevice, options: OpenOptions, progress: Progress | None
    ) -> None:
        self._trt, self._cudart, self._device = trt, cudart, device
        self._options, self._progress = options, progress

    def model(self, artifact: Artifact) -> Session:
        source = self._source(artifact)
        with _current(self._cudart, self._device):
            loaded = source.load()
        return self._session(artifact, loaded)

    def plan(self, artifact: Artifact) -> tuple[bytes, dict[str, Any]]:
        source = self._source(artifact)
        with _current(self._cudart, self._device):
            return source.load().plan, source.key

    def engine_file(self, artifact: Artifact) -> Session:
        """Open a trusted engine; one for another machine is built again from its model, if that lies beside it."""
        note = read_note(artifact.path)
        reason = differences(note.key, machine_key(self._trt, self._device)) if note else ""
        if not reason:
            with _current(self._cudart, self._device):
                engine, runtime = deserialize(self._trt, artifact.path.read_bytes())
            if engine is not None:
                facts: dict[str, Scalar] = {"trusted": True}
                return self._session(
                    artifact, LoadedEngine(engine=engine, keeps=(runtime,), from_cache=True, plan=b"", facts=facts)
                )
            reason = last_errors(self._trt) or "TensorRT does not load it"
        model = artifact.path.with_name(note.model) if note else None
        if note and model and _is_model(model, str(note.key.get("model_sha256"))):
            return self.model(load_artifact(model))
        raise RuntimeUnavailable(
            f"{artifact.path} was not built for this machine: {reason}",
            f"put {model.name} beside it, which is built again then, or open that" if model else "open its .onnx file",
        )

    def _source(self, artifact: Artifact) -> EngineSource:
        options = self._options
        try:
            sha256 = file_sha256(artifact.path)
        except OSError as error:
            raise BadInput(f"{artifact.path} cannot be read: {error.strerror}") from None
        return EngineSource(
            self._trt,
            self._device,
            artifact.path,
            sha256,
            build_options(artifact, options, self._device),
            cache=None if options.cache is False else Cache(options.cache_folder),
            timing=timing_cache_wanted(options),
            progress=self._progress,
        )

    def _session(self, artifact: Artifact, loaded: LoadedEngine) -> Session:
        built = Built(
            from_cache=loaded.from_cache,
            options=loaded.facts,
            keeps=loaded.keeps,
        )
        return TrtSession(loaded.engine, self._trt, self._cudart, artifact, self._options, built, device=self._device)


@contextmanager
def _current(cudart: Any, device: CudaDevice) -> Iterator[None]:
    """Make a GPU the thread's current one, and give the thread its own back."""
    before = check(cudart.cudaGetDevice(), "cudaGetDevice", cudart)
    check(cudart.cudaSetDevice(device.ordinal), "cudaSetDevice", cudart)
    try:
        yield
    finally:
        if before != device.ordinal:
            cudart.cudaSetDevice(before)


def _is_model(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False
