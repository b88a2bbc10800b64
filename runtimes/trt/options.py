"""What an engine is built with: from OpenOptions to values that are all stated, because all of them are in the cache's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.runtimes.base import OpenOptions, check_cache_folder, check_honoured
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.specs import Artifact, Scalar, TensorSpec

Verbosity = Literal["layer_names_only", "detailed", "none"]

_VERBOSITIES: tuple[Verbosity, ...] = ("layer_names_only", "detailed", "none")

ENGINE_OPTIONS = (
    "opt_batch",
    "workspace_mib",
    "tf32",
    "optimization_level",
    "profiling_verbosity",
    "timing_cache",
    "device",
    "cuda_graph",
)
"""What `OpenOptions.engine` may hold; `docs/tensorrt.md` says what each does."""

_MIB = 1 << 20

# Where nothing is asked for: this, or a quarter of the GPU's memory if that is less. A Jetson shares it with all programs.
_WORKSPACE_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        max_batch: the engine takes batches of 1 to this many; None is the fixed batch of the file, whatever was asked.
        opt_batch: the batch that it is made fastest for; None with a fixed batch.
        workspace_bytes: what one layer's algorithm may use of the GPU's memory while it works.
        tf32: compute float32 convolutions with 10 instead of 23 bits of mantissa where the GPU can.
        optimization_level: 0 (built fast) to 5 (runs fast).
        profiling_verbosity: what the engine tells about its layers.
    """

    max_batch: int | None
    opt_batch: int | None
    workspace_bytes: int
    tf32: bool = False
    optimization_level: int = 3
    profiling_verbosity: Verbosity = "detailed"


def build_options(artifact: Artifact, options: OpenOptions, device: CudaDevice | None = None) -> BuildOptions:
    """Return how the engine of a file is built.

    Args:
        artifact: the model file.
        options: how it is to be opened.
        device: the GPU; None takes its memory as large.

    Raises:
        UnknownName: an engine option that this backend does not have.
        BadInput: a value that cannot be, or an input whose size other than the batch is free.
        Contradiction: `opt_batch` for a file of another fixed batch, or an option that a GPU cannot honour.
    """
    check_options(options)
    batch = _file_batch(artifact)
    max_batch = opt_batch = None
    if batch is None:
        max_batch = options.max_batch or 1
        opt_batch = _whole(options, "opt_batch", default=max_batch, least=1, most=max_batch)
    elif options.engine.get("opt_batch", batch) != batch:
        raise Contradiction(f"{artifact.path} is of the fixed batch {batch}", "leave opt_batch out")
    memory_mib = (device.memory_bytes if device else 1 << 40) // _MIB
    workspace_mib = _whole(
        options, "workspace_mib", default=max(1, min(_WORKSPACE_MIB, memory_mib // 4)), least=1, most=memory_mib
    )
    return BuildOptions(
        max_batch=max_batch,
        opt_batch=opt_batch,
        workspace_bytes=workspace_mib * _MIB,
        tf32=_flag(options, "tf32", default=False),
        optimization_level=_whole(options, "optimization_level", default=3, least=0, most=5),
        profiling_verbosity=_verbosity(options),
    )


def check_options(options: OpenOptions) -> None:
    """Return if this backend knows every option and can honour it; values of engine options are checked where used.

    Raises:
        UnknownName, Contradiction: see `build_options`.
    """
    for key in options.engine:
        if key not in ENGINE_OPTIONS:
            raise UnknownName("engine option of backend trt", key, ENGINE_OPTIONS)
    check_honoured("trt", options, ("allow_fallback", "cache", "cache_folder", "trust_engine"))
    check_cache_folder(options)


def device_ordinal(options: OpenOptions) -> int:
    """Return the number of the GPU that is asked for; 0 is the first.

    Raises:
        BadInput: it is none.
    """
    return _whole(options, "device", default=0, least=0, most=1 << 16)


def timing_cache_wanted(options: OpenOptions) -> bool:
    """Return whether the times of a build are kept for the next one.

    Raises:
        BadInput: the option is neither True nor False.
    """
    return _flag(options, "timing_cache", default=True) and options.cache is not False


def _file_batch(artifact: Artifact) -> int | None:
    """Return the fixed batch of a file; None where it takes any."""
    batches = {_first_dimension(artifact, spec) for spec in artifact.spec.inputs}
    fixed = {batch for batch in batches if batch is not None}
    if len(batches) > 1:
        raise BadInput(
            f"{artifact.path}: inputs of several batch sizes", expected="one", got=str(sorted(map(str, batches)))
        )
    return fixed.pop() if fixed else None


def _first_dimension(artifact: Artifact, spec: TensorSpec) -> int | None:
    free = [str(size) for size in spec.shape[1:] if isinstance(size, str)]
    if free:
        raise BadInput(
            f"{artifact.path}: input {spec.name} has a free size besides the batch: {', '.join(free)}",
            "an engine is built for one image size: export the model with fixed height and width",
        )
    first = spec.shape[0] if spec.shape else 1
    return None if isinstance(first, str) else first


def _whole(options: OpenOptions, key: str, *, default: int, least: int, most: int) -> int:
    value: Scalar = options.engine.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadInput(f"engine option {key}", expected=f"a whole number, {least} to {most}", got=repr(value))
    return value


def _flag(options: OpenOptions, key: str, *, default: bool) -> bool:
    value = options.engine.get(key, default)
    if not isinstance(value, bool):
        raise BadInput(f"engine option {key}", expected="True or False", got=repr(value))
    return value


def _verbosity(options: OpenOptions) -> Verbosity:
    value = options.engine.get("profiling_verbosity", "detailed")
    for known in _VERBOSITIES:
        if value == known:
            return known
    raise BadInput("engine option profiling_verbosity", expected=", ".join(_VERBOSITIES), got=repr(value))
