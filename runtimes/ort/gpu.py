"""What must be there before ONNX Runtime runs on an NVIDIA GPU, asked in the order in which a user mends it.

The engine itself lists its CUDA and TensorRT providers wherever they were compiled in, and takes the CPU in silence when
they cannot be loaded. So this reads what their libraries need, loads that, and asks CUDA for a GPU before a session.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, MissingDependency, RuntimeUnavailable, first_line
from edgecnn.runtimes.nvidia.cudart import NO_DRIVER, NO_DRIVER_FIX, CudaDevice, probe
from edgecnn.runtimes.nvidia.elf import gpu_architectures, needed_libraries, runs_on
from edgecnn.runtimes.nvidia.sharedlibs import Load, MissingLibrary, load_libraries
from edgecnn.runtimes.ort.installed import engine_distributions
from edgecnn.runtimes.ort.session import check_system, import_engine

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_LIBRARIES = {CUDA: "libonnxruntime_providers_cuda.so", TENSORRT: "libonnxruntime_providers_tensorrt.so"}

# Loaded by the provider when the first convolution runs, which otherwise ends as "not implemented" (from ONNX Runtime 1.28
# on; before, it stands in the library's header). All versions from 1.20 on take cuDNN 9.
_FOR_CONVOLUTIONS = "libcudnn.so.9"

# Start of a library's name -> the wheel that brings it; NVIDIA's packages carry the CUDA version in their name up to 12,
# and in their version from 13 on.
_WHEELS = {
    "libcublas": ("nvidia-cublas-cu12", "nvidia-cublas~=13.0"),
    "libcudart": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime~=13.0"),
    "libcudnn": ("nvidia-cudnn-cu12~=9.0", "nvidia-cudnn-cu13~=9.0"),
    "libcufft": ("nvidia-cufft-cu12", "nvidia-cufft~=12.0"),
    "libcurand": ("nvidia-curand-cu12", "nvidia-curand~=10.0"),
    "libnvrtc": ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc~=13.0"),
    "libnvinfer": ("tensorrt-cu12>=10.3,<11", "tensorrt-cu13>=10.14,<11"),
    "libnvonnxparser": ("tensorrt-cu12>=10.3,<11", "tensorrt-cu13>=10.14,<11"),
}
_DRIVER = "libcuda.so"
_DRIVER_LIBRARY = "libcuda.so.1"

# The engine's words for a provider that fails while a session is created: the file is not at fault.
_PROVIDER_FAILED = re.compile(
    r"CUDA failure|CUDNN failure|CUBLAS failure|cudaError|TensorRT libraries|creating execution provider"
    r"|CreateExecutionProviderInstance|Failed to load library|TensorRT EP (failed|could not)|out of memory",
    re.IGNORECASE,
)
_TOLD = re.compile(r".*\[ONNXRuntimeError\] : \d+ : \w+ : (?P<text>[^\n]+)", re.DOTALL)
_OPTION_REFUSED = re.compile(r"provider option|Failed to parse|Unknown option", re.IGNORECASE)


def check_gpu(
    provider: str, *, backend: str, load: Load = ctypes.CDLL, cudart: Any = None, ordinal: int = 0
) -> tuple[Any, CudaDevice]:
    """Return the engine and the GPU, with all that the provider needs loaded.

    Args:
        provider: `CUDA` or `TENSORRT`.
        backend: that asks, for the error text.
        load: loads a shared library, or raises OSError.
        cudart: as `edgecnn.runtimes.nvidia.cudart.probe` takes it.
        ordinal: the GPU's number, from 0.

    Raises:
        MissingDependency: onnxruntime-gpu or cuda-bindings is not installed.
        RuntimeUnavailable: a package without this provider, a library that is missing, no driver, no GPU, or one that
            the package has no code for; the hint mends it.
    """
    check_system()
    engine = import_engine(package="onnxruntime-gpu", extra="cuda", backend=backend)
    # TensorRT's provider takes the memory of the GPU from CUDA's.
    providers = (CUDA,) if provider == CUDA else (CUDA, provider)
    try:
        libraries = [provider_library(engine, one) for one in providers]
    except RuntimeUnavailable as error:
        raise _with_driver(error, cudart, ordinal, backend, load) from None
    check_libraries(libraries, load=load)
    device = probe(cudart, ordinal, extra="cuda", purpose=f"backend {backend}")
    check_architecture(libraries[0], device)
    return engine, device


def _with_driver(error: RuntimeUnavailable, cudart: Any, ordinal: int, backend: str, load: Load) -> RuntimeUnavailable:
    """Return what is wrong, the GPU first: another package is of no use without one, and would cost the present one."""
    try:
        probe(cudart, ordinal, extra="cuda", purpose=f"backend {backend}")
    except RuntimeUnavailable as missing:
        return RuntimeUnavailable(f"{missing.message}; {error.message}", f"{missing.hint}; then: {error.hint}")
    except MissingDependency:
        try:  # nothing that could ask for a GPU, but perhaps for its driver
            load(_DRIVER_LIBRARY)
        except OSError:
            return RuntimeUnavailable(f"{NO_DRIVER}; {error.message}", f"{NO_DRIVER_FIX}; then: {error.hint}")
    return error


def provider_library(engine: Any, provider: str) -> Path:
    """Return the library of a provider inside the installed package.

    Raises:
        RuntimeUnavailable: the package was built without it, which is so for the plain onnxruntime.
    """
    path = Path(engine.__file__).parent / "capi" / _LIBRARIES[provider]
    if provider in engine.get_available_providers() and path.is_file():
        return path
    found = engine_distributions() or ("onnxruntime",)
    both = "; they overwrite each other, the one installed last wins" if len(found) > 1 else ""
    # Removing one of two takes the other's files with it.
    raise RuntimeUnavailable(
        f"{' and '.join(found)} {engine.__version__} as installed has no {provider} ({_LIBRARIES[provider]}){both}",
        f"pip uninstall -y {' '.join(found)} && pip install 'edgecnn[cuda]'",
    )


def check_libraries(libraries: Sequence[Path], *, load: Load = ctypes.CDLL) -> None:
    """Load what libraries need, and cuDNN.

    Args:
        libraries: of the providers, that of CUDA first.
        load: loads a name or path, or raises OSError.

    Raises:
        RuntimeUnavailable: some of it is missing; all is named, with the commands that install it.
    """
    needed = {library.name: needed_libraries(library) for library in libraries}
    first = libraries[0].name
    needed[first] = tuple(dict.fromkeys((*needed[first], _FOR_CONVOLUTIONS)))
    missing: list[MissingLibrary] = []
    for owner, names in needed.items():
        known = {one.name for one in missing}
        missing += [one for one in load_libraries(names, needed_by=owner, load=load) if one.name not in known]
    if missing:
        cuda_major = _cuda_major([name for names in needed.values() for name in names])
        raise RuntimeUnavailable(_in_words(missing), _fix(missing, cuda_major))


def check_architecture(library: Path, device: CudaDevice) -> None:
    """Raise RuntimeUnavailable if a provider's library has no code for a GPU; it would fail at its first kernel."""
    architectures = gpu_architectures(library)
    if not runs_on(architectures, device.compute_capability):
        raise RuntimeUnavailable(
            f"{device.name} is {device.sm}; {library.name} has code for {', '.join(architectures)} only",
            "install an onnxruntime-gpu that was built for this GPU (for a Jetson: NVIDIA's), or take backend trt",
        )


def library_version(name: str, function: str) -> int | None:
    """Return the version that a loaded library tells of itself; None where it does not.

    Args:
        name: "libcudnn.so.9" for example.
        function: without arguments, that returns a number: cudnnGetVersion, getInferLibVersion.
    """
    try:
        return int(getattr(ctypes.CDLL(name), function)())
    except (OSError, AttributeError):
        return None


def cudnn_version() -> int | None:
    """Return the version of the loaded cuDNN, 91300 for 9.13.0; None where there is none."""
    return library_version(_FOR_CONVOLUTIONS, "cudnnGetVersion")


@contextmanager
def provider_errors(backend: str, *, hint: str = "edgecnn doctor says what is missing") -> Iterator[None]:
    """Turn what the engine says while a session is created into errors that blame the right side.

    Args:
        backend: its name.
        hint: what to do where the provider failed.

    Raises:
        RuntimeUnavailable: the provider failed; the file may be good.
        BadInput: the provider refuses an option.
    """
    try:
        yield
    except BadInput as error:
        cause = error.__cause__
        if cause is None:
            raise
        if _OPTION_REFUSED.search(str(cause)):
            raise BadInput(f"backend {backend} refuses an engine option: {_said(cause)}") from cause
        if _PROVIDER_FAILED.search(str(cause)):
            raise RuntimeUnavailable(f"backend {backend} cannot start here: {_said(cause)}", hint) from cause
        raise


def _said(error: BaseException) -> str:
    """Return what the engine says without the places of its own source before it."""
    told = _TOLD.search(str(error))
    return told["text"][:300] if told else first_line(error)


def _cuda_major(names: Sequence[str]) -> int:
    """Return the CUDA version that a library was built for, told by the runtime that it needs; 13 where it needs none."""
    found = next((name for name in names if name.startswith("libcudart.so.")), "libcudart.so.13")
    return int(found.rpartition(".")[2])


def _in_words(missing: Sequence[MissingLibrary]) -> str:
    by_owner: dict[str, list[str]] = {}
    for one in missing:
        by_owner.setdefault(one.needed_by, []).append(one.name)
    needs = "; ".join(f"{owner} needs {', '.join(names)}" for owner, names in by_owner.items())
    # A file that is there and does not load has a reason that a name alone does not tell.
    damaged = [one.reason for one in missing if one.name not in one.reason or "No such file" not in one.reason]
    return f"{needs}: {damaged[0] if damaged else 'not found'}"


def _fix(missing: Sequence[MissingLibrary], cuda_major: int) -> str:
    index = 0 if cuda_major <= 12 else 1
    wheels = [wheel[index] for one in missing for start, wheel in _WHEELS.items() if one.name.startswith(start)]
    quoted = " ".join(f"'{wheel}'" for wheel in dict.fromkeys(wheels))
    parts = [f"pip install {quoted}"] if wheels else []
    if any(one.name.startswith(_DRIVER) for one in missing):
        parts.append(NO_DRIVER_FIX)
    others = [one.name for one in missing if not one.name.startswith((_DRIVER, *_WHEELS))]
    if others:
        parts.append(f"install what brings {', '.join(others)}, or add its folder to LD_LIBRARY_PATH")
    return "; ".join(parts)
