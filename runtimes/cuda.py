"""Backend `cuda`: ONNX Runtime's CUDA provider on an NVIDIA GPU, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecnn.errors import BadInput, Contradiction
from edgecnn.runtimes.base import OpenOptions, Session, check_honoured
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.ort.device import DeviceOrtSession
from edgecnn.runtimes.ort.gpu import CUDA, check_gpu, cudnn_version, provider_errors
from edgecnn.runtimes.ort.options import CUDA_OPTIONS, encode_options
from edgecnn.runtimes.ort.session import forbid_cpu, session_options
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, Scalar

# Where they differ from the engine's own. TF32 keeps 10 bits of each float32 that is multiplied (NVIDIA A100 Tensor Core
# GPU Architecture, 2020), so answers would differ from the CPU's. EXHAUSTIVE tries every algorithm of cuDNN for each
# new shape, which makes its first run slow.
_DEFAULTS: dict[str, Scalar] = {"use_tf32": False, "cudnn_conv_algo_search": "HEURISTIC"}


class CudaRuntime:
    """ONNX Runtime on an NVIDIA GPU.

    Engine options are those of `edgecnn.runtimes.ort.options.CUDA_OPTIONS`, by the engine's names. `use_tf32` is off and
    `cudnn_conv_algo_search` is HEURISTIC unless given. Inputs and outputs have buffers in the GPU's memory that stay bound;
    a run contains both copies and waits for the GPU. With `enable_cuda_graph` runs of one session follow each other.
    """

    name = "cuda"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if a GPU and all that the CUDA provider needs are here.

        Raises:
            MissingDependency, RuntimeUnavailable: see `edgecnn.runtimes.ort.gpu.check_gpu`.
        """
        check_gpu(CUDA, backend=self.name)

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session whose every node runs on the GPU, warm for one image and for `max_batch`.

        Raises:
            BadInput: the engine does not read this file, or the value of an engine option cannot be.
            UnknownName: an engine option that this backend does not have.
            Contradiction: an option that this backend cannot honour.
            ProviderFallback: nodes would run elsewhere; they are named.
            MissingDependency, RuntimeUnavailable: see `check`.
            InferenceError: the engine failed in its first run.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        check_honoured(self.name, options, ("threads", "spinning", "allow_fallback"))
        chosen = {**_DEFAULTS, **options.engine}
        encoded = encode_options(self.name, chosen, CUDA_OPTIONS)
        ordinal = int(encoded.get("device_id", "0"))
        batches = warm_batches(artifact, options.max_batch)
        engine, device = check_gpu(CUDA, backend=self.name, ordinal=ordinal)
        return warmed(_create(engine, device, artifact, options, chosen, encoded), batches)


def _create(
    engine: Any,
    device: CudaDevice,
    artifact: Artifact,
    options: OpenOptions,
    chosen: Mapping[str, Scalar],
    encoded: Mapping[str, str],
) -> DeviceOrtSession:
    threads = options.threads or usable_threads()
    wanted = session_options(engine, options, threads)
    forbid_cpu(engine, wanted, options)
    found = {"gpu": device.name, "driver": device.driver_version, "cudnn": cudnn_version()}
    with provider_errors(CudaRuntime.name):
        return DeviceOrtSession(
            engine,
            artifact,
            options,
            backend=CudaRuntime.name,
            providers=[(CUDA, encoded)],
            chosen=wanted,
            threads=threads,
            described={**found, **chosen},
            device="cuda",
            device_id=device.ordinal,
            graphs=encoded.get("enable_cuda_graph") == "1",
        )


def warm_batches(artifact: Artifact, max_batch: int | None) -> tuple[int, ...]:
    """Return the batches that a session is warmed with: the file's own, or one image and the largest batch.

    Raises:
        Contradiction: the file has a fixed batch below `max_batch`.
    """
    fixed = [spec.shape[0] for spec in artifact.spec.inputs if spec.shape and isinstance(spec.shape[0], int)]
    if not fixed:
        return tuple(dict.fromkeys((1, max_batch or 1)))
    if max_batch is not None and max_batch > min(fixed):
        raise Contradiction(
            f"max_batch={max_batch}, and {artifact.path} was exported for a batch of {min(fixed)}",
            "export it again with --batch N",
        )
    return (fixed[0],)


def warmed(session: DeviceOrtSession, batches: tuple[int, ...]) -> Session:
    """Return a session after one run of each batch; closed if one fails."""
    try:
        for batch in batches:
            session.warm(batch)
    except BaseException:
        session.close()
        raise
    return session
