"""Backend `ort-trt`: ONNX Runtime's TensorRT provider, which builds and runs TensorRT engines inside ONNX Runtime.

The provider is built for TensorRT 10; where 11 is installed take backend `trt`. Built engines are kept in the cache,
because building takes from seconds to minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecnn.errors import BadInput, RuntimeUnavailable
from edgecnn.runtimes.base import Feeds, OpenOptions, Session, check_cache_folder, check_honoured
from edgecnn.runtimes.cuda import warm_batches, warmed
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.nvidia.sharedlibs import wheel_folders
from edgecnn.runtimes.ort.device import DeviceOrtSession
from edgecnn.runtimes.ort.gpu import CUDA, TENSORRT, check_gpu, cudnn_version, library_version, provider_errors
from edgecnn.runtimes.ort.options import TENSORRT_OPTIONS, TENSORRT_OWNED, encode_options
from edgecnn.runtimes.ort.session import forbid_cpu, session_options
from edgecnn.runtimes.ort.trtcache import EngineFolder, open_cached
from edgecnn.runtimes.threads import usable_threads
from edgecnn.runtimes.trt.zero_points import check_quantization
from edgecnn.specs import Artifact, TensorSpec

# Files that can hold quantizers; TensorRT reads some of those without a word and computes something else.
_QUANTIZED = ("int8", "mixed")

_NEEDED = "libnvinfer.so.10"

# Precision of the file -> what the builder may use besides float32. The provider builds weakly typed networks, where the
# types in the file are not enough; an int8 file brings its scales as Q/DQ, so there is no calibration table.
_PRECISIONS = {
    "fp32": {},
    "fp16": {"trt_fp16_enable": "1"},
    "mixed": {"trt_fp16_enable": "1"},
    "bf16": {"trt_bf16_enable": "1"},
    "int8": {"trt_int8_enable": "1"},
}


class OrtTrtRuntime:
    """TensorRT 10 through ONNX Runtime.

    Engine options are those of `edgecnn.runtimes.ort.options.TENSORRT_OPTIONS`, by the engine's names. An int8 file turns
    `trt_int8_enable` on, an fp16 file `trt_fp16_enable`. Engines are built for batches from 1 to `max_batch`, or for the
    batch that the file has, and kept in the cache unless `cache=False`.
    """

    name = "ort-trt"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if a GPU, TensorRT 10 and all that the provider needs are here.

        Raises:
            MissingDependency, RuntimeUnavailable: see `edgecnn.runtimes.ort.gpu.check_gpu`.
        """
        _check(self.name)

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session whose every node runs in TensorRT, its engines built or taken from the cache.

        Raises:
            BadInput: the engine does not read this file, it is not quantized for TensorRT, a size other than the batch
                is open, or the value of an engine option cannot be.
            UnknownName: an engine option that this backend does not have.
            Contradiction: an option that this backend cannot honour, or one that is said elsewhere.
            ProviderFallback: nodes would run elsewhere; they are named.
            MissingDependency, RuntimeUnavailable: see `check`.
            UnavailableError: the cache's folder is not private.
            InferenceError: the engine failed in its first run.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        check_honoured(self.name, options, ("threads", "spinning", "allow_fallback", "cache", "cache_folder"))
        check_cache_folder(options)
        encoded = encode_options(self.name, options.engine, TENSORRT_OPTIONS, TENSORRT_OWNED)
        encoded = {**_PRECISIONS[artifact.precision], **encoded}
        encoded |= profile(artifact.spec.inputs, options.max_batch)
        if artifact.precision in _QUANTIZED:
            check_quantization(artifact.path)
        batches = warm_batches(artifact, options.max_batch)
        engine, device = _check(self.name, int(encoded.get("device_id", "0")))
        if options.cache is False:
            return _open(engine, device, artifact, options, encoded, batches, None)
        folder = EngineFolder(artifact, options, device, {"onnxruntime": engine.__version__, **_version(), **encoded})
        return open_cached(folder, lambda: _open(engine, device, artifact, options, encoded, batches, folder))


def profile(inputs: tuple[TensorSpec, ...], max_batch: int | None) -> dict[str, str]:
    """Return the provider's options for the batches that an engine is built for; none for a file of fixed shapes.

    Args:
        inputs: the graph's inputs.
        max_batch: the largest batch; None is 1.

    Raises:
        BadInput: a size other than the first is open.
    """
    open_inputs = [spec for spec in inputs if any(isinstance(size, str) for size in spec.shape)]
    for spec in open_inputs:
        if any(isinstance(size, str) for size in spec.shape[1:]):
            wanted = ", ".join(map(str, spec.shape))
            raise BadInput(f"input {spec.name}", expected="no open size but the batch", got=f"[{wanted}]")
    if not open_inputs:
        return {}
    shapes = {
        batch: ",".join(f"{spec.name}:{'x'.join(map(str, (batch, *spec.shape[1:])))}" for spec in open_inputs)
        for batch in (1, max_batch or 1)
    }
    least, most = shapes[1], shapes[max_batch or 1]
    return {"trt_profile_min_shapes": least, "trt_profile_opt_shapes": most, "trt_profile_max_shapes": most}


class _TrtSession(DeviceOrtSession):
    """Refuses batches that no engine was built for: the provider would build another one, for minutes, in a run."""

    def __init__(self, *arguments: Any, max_batch: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._max_batch = max_batch

    def _check(self, feeds: Feeds, signature: object) -> None:
        for spec in self.inputs:
            array = feeds.get(spec.name) if isinstance(feeds, Mapping) else None
            shape = getattr(array, "shape", ())
            if spec.shape and isinstance(spec.shape[0], str) and shape and shape[0] > self._max_batch:
                raise BadInput(
                    f"input {spec.name}",
                    "open it with OpenOptions(max_batch=…)",
                    expected=f"a batch of at most {self._max_batch}",
                    got=str(shape[0]),
                )
        super()._check(feeds, signature)


def _check(backend: str, ordinal: int = 0) -> tuple[Any, CudaDevice]:
    try:
        return check_gpu(TENSORRT, backend=backend, ordinal=ordinal)
    except RuntimeUnavailable as error:
        others = _other_tensorrt()
        if _NEEDED in error.message and others:
            error.message += f"; {', '.join(others)} is of another version than this provider is built for"
            error.hint += "; or take backend trt"
        raise


def _other_tensorrt() -> tuple[str, ...]:
    """Return the TensorRT libraries among the installed wheels that the provider does not take."""
    found = {path.name for folder in wheel_folders() for path in folder.glob("libnvinfer.so.*")}
    return tuple(sorted(found - {_NEEDED}))


def _version() -> dict[str, str]:
    """Return TensorRT's version as its library tells it (NvInferRuntime.h, getInferLibVersion), 101400 for 10.14.0."""
    return {"tensorrt": str(library_version(_NEEDED, "getInferLibVersion") or _NEEDED)}


def _open(
    engine: Any,
    device: CudaDevice,
    artifact: Artifact,
    options: OpenOptions,
    encoded: Mapping[str, str],
    batches: tuple[int, ...],
    folder: EngineFolder | None,
) -> Session:
    threads = options.threads or usable_threads()
    wanted = session_options(engine, options, threads)
    forbid_cpu(engine, wanted, options)
    # What TensorRT leaves over may go to CUDA only where falling back was allowed.
    rest = [(CUDA, {"device_id": encoded.get("device_id", "0")})] if options.allow_fallback else []
    with provider_errors(OrtTrtRuntime.name):
        session = _TrtSession(
            engine,
            artifact,
            options,
            backend=OrtTrtRuntime.name,
            providers=[(TENSORRT, {**encoded, **(folder.options() if folder else {})}), *rest],
            asked=(TENSORRT,),
            chosen=wanted,
            threads=threads,
            described={
                "gpu": device.name,
                "driver": device.driver_version,
                "cudnn": cudnn_version(),
                **_version(),
                "cache": folder is not None,
                **encoded,
            },
            device="cuda",
            device_id=device.ordinal,
            graphs=encoded.get("trt_cuda_graph_enable") == "1",
            max_batch=max(batches),
        )
    return warmed(session, batches)
