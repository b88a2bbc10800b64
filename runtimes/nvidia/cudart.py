"""CUDA through the package cuda-bindings: loading it, its errors in plain words, and what the GPU of this machine is.

`probe` creates no context and no engine: it is the question that comes before TensorRT or a CUDA provider is touched,
because a TensorRT Runtime that was made without a GPU ends the process on its first use.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from edgecnn.errors import EdgecnnError, InferenceError, MissingDependency, RuntimeUnavailable, first_line

NO_DRIVER = "no NVIDIA driver is loaded on this machine"
NO_DRIVER_FIX = "install the NVIDIA driver; in a container, start it with --gpus all (nvidia-container-toolkit)"

_REBOOT = "reboot: the loaded driver module and the driver's libraries are of different versions"
_SHARED = "end the programs that use it (nvidia-smi lists them), or sudo nvidia-smi --compute-mode=0"

# cudaError_t -> (what is wrong, what mends it); numbers are the same in every CUDA version (driver_types.h).
_UNAVAILABLE: dict[int, tuple[str, str]] = {
    34: ("the CUDA driver library that is found first is a stub", "take the folder .../stubs off LD_LIBRARY_PATH"),
    36: ("the NVIDIA driver is older than this CUDA runtime needs", "install a newer NVIDIA driver"),
    46: ("the GPU is busy or may not be used by another program", _SHARED),
    100: (
        "the NVIDIA driver shows no GPU",
        "nvidia-smi lists what it sees; set CUDA_VISIBLE_DEVICES to one of those, in a container add --gpus all",
    ),
    101: ("there is no GPU of this number", "nvidia-smi -L lists the numbers, from 0"),
    209: ("this library has no code for the GPU's compute capability", "install a version built for this GPU"),
    802: ("the GPU's system is not ready", "sudo systemctl start nvidia-fabricmanager"),
    803: ("the NVIDIA driver and its libraries do not match", _REBOOT),
    804: (
        "a forward-compatibility library (cuda-compat) is loaded for a GPU that it does not serve",
        "take its folder off LD_LIBRARY_PATH, or install a newer NVIDIA driver",
    ),
    805: ("the CUDA MPS server cannot be reached", "start it with nvidia-cuda-mps-control -d, or stop using it"),
    807: ("the CUDA MPS server takes no new program", "start it again: echo quit | nvidia-cuda-mps-control"),
    999: ("the NVIDIA driver failed without a reason", "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm"),
}

# Errors of a call that a machine with a working GPU gives too: what to do about them.
_HINTS: dict[int, str] = {
    2: "the GPU's memory is full: a smaller max_batch, or end other programs (nvidia-smi lists them)",
    3: "CUDA does not outlive fork(): start worker processes with the method 'spawn'",
    214: "the GPU's memory is damaged: nvidia-smi -q -d ECC",
    700: "start the process again: its GPU context is lost after this error",
    710: "start the process again: its GPU context is lost after this error",
    719: "start the process again: its GPU context is lost after this error",
}

# cudaDevAttrComputeMode: 2 is cudaComputeModeProhibited (driver_types.h).
_PROHIBITED = 2

_PCI_BUS_ID_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDevice:
    """A GPU as the CUDA runtime describes it.

    Attributes:
        ordinal: its number, from 0, among those that CUDA_VISIBLE_DEVICES leaves.
        name: "NVIDIA H200" for example.
        compute_capability: major and minor, (9, 0) for example.
        multiprocessors: number of streaming multiprocessors.
        memory_bytes: all of its memory; on an integrated GPU that of the machine.
        integrated: GPU and CPU share one memory, as on a Jetson.
        pci_bus_id: "0000:01:00.0" for example.
        driver_version: greatest CUDA version that the driver serves, "13.0" for example.
        runtime_version: CUDA version of the runtime that cuda-bindings brings.
    """

    ordinal: int
    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    integrated: bool
    pci_bus_id: str
    driver_version: str
    runtime_version: str

    @property
    def sm(self) -> str:
        """The compute capability as compilers write it, "sm_90" for example."""
        return "sm_{}{}".format(*self.compute_capability)


def load_cudart(*, extra: str = "trt", purpose: str = "CUDA from Python") -> Any:
    """Return the module of the CUDA runtime; it loads also where there is no driver.

    Args:
        extra: the extra of edgecnn that brings cuda-bindings, for the hint.
        purpose: what needs it, "backend trt" for example.

    Raises:
        MissingDependency: cuda-bindings is not installed.
        RuntimeUnavailable: it is installed and cannot be imported.
    """
    failure: Exception | None = None
    # The second is where cuda-python up to 12.6 has it; 13 no longer does.
    for module, name in (("cuda.bindings.runtime", ""), ("cuda", "cudart")):
        try:
            loaded = importlib.import_module(module)
            return getattr(loaded, name) if name else loaded
        except (ModuleNotFoundError, AttributeError):
            continue
        except Exception as error:
            failure = failure or error
    if failure is None:
        raise MissingDependency("cuda-bindings", extra, purpose)
    raise RuntimeUnavailable(
        f"cuda-bindings is installed but cannot be used: {type(failure).__name__}: {first_line(failure)}",
        "pip install --force-reinstall cuda-bindings",
    ) from failure


def check(ret: tuple[Any, ...], what: str = "", cudart: Any = None) -> Any:
    """Return the values of a call of cuda-bindings: None, the one value, or a tuple of several.

    Args:
        ret: what the call returned, (cudaError_t, value, ...).
        what: the call or its purpose, for the message.
        cudart: the module that was called, for the error's text.

    Raises:
        RuntimeUnavailable: this GPU or driver cannot be used at all; the hint mends it.
        InferenceError: the call failed.
    """
    if ret[0]:
        raise cuda_error(ret[0], what, cudart)
    if len(ret) == 2:
        return ret[1]
    return ret[1:] or None


def cuda_error(error: Any, what: str = "", cudart: Any = None) -> EdgecnnError:
    """Return the error of edgecnn for a cudaError_t that is not cudaSuccess.

    Args:
        error: a cudaError_t of the real module or of a fake.
        what: the call or its purpose, for the message.
        cudart: the module that it came from.
    """
    code = int(error)
    name = getattr(error, "name", "cudaError_t")
    where = f"{what}: " if what else ""
    if code == 35:
        return _driver_error(cudart, f"{where}CUDA error 35, {name}")
    if code in _UNAVAILABLE:
        reason, fix = _UNAVAILABLE[code]
        return RuntimeUnavailable(f"{reason} ({where}CUDA error {code}, {name})", fix)
    return InferenceError(f"{where}CUDA error {code}, {name}: {_text(error, cudart)}", _HINTS.get(code, ""))


def probe(cudart: Any = None, ordinal: int = 0, *, extra: str = "trt", purpose: str = "CUDA from Python") -> CudaDevice:
    """Return a GPU that programs can use, without making a context on it.

    Args:
        cudart: the module of `load_cudart`, or a fake; None loads it.
        ordinal: the GPU's number, from 0.
        extra: the extra of edgecnn that brings cuda-bindings, for the hint.
        purpose: what needs CUDA, for the message.

    Raises:
        MissingDependency: cuda-bindings is not installed.
        RuntimeUnavailable: no driver, no GPU, no GPU of this number, or one that cannot be used; the hint mends it.
    """
    cudart = cudart or load_cudart(extra=extra, purpose=purpose)
    try:
        return _probe(cudart, ordinal)
    except EdgecnnError:
        raise
    except Exception as error:
        # cuda.pathfinder raises a RuntimeError of its own where a call needs the driver's library and there is none.
        if "driver" in str(error):
            raise RuntimeUnavailable(f"{NO_DRIVER}: {first_line(error)}", NO_DRIVER_FIX) from error
        raise RuntimeUnavailable(
            f"CUDA cannot be asked: {type(error).__name__}: {first_line(error)}",
            "nvidia-smi tells whether the driver works; pip install --force-reinstall cuda-bindings mends the package",
        ) from error


def _probe(cudart: Any, ordinal: int) -> CudaDevice:
    count = check(cudart.cudaGetDeviceCount(), "cudaGetDeviceCount", cudart)
    if not count:
        raise RuntimeUnavailable(*_UNAVAILABLE[100])
    if not 0 <= ordinal < count:
        raise RuntimeUnavailable(f"there is no GPU {ordinal}, this machine shows {count}", _UNAVAILABLE[101][1])
    found = check(cudart.cudaGetDeviceProperties(ordinal), "cudaGetDeviceProperties", cudart)
    mode_attribute = cudart.cudaDeviceAttr.cudaDevAttrComputeMode
    if check(cudart.cudaDeviceGetAttribute(mode_attribute, ordinal), "compute mode", cudart) == _PROHIBITED:
        raise RuntimeUnavailable(
            f"GPU {ordinal} ({_words(found.name)}) is closed to programs (compute mode Prohibited)",
            f"sudo nvidia-smi -i {ordinal} --compute-mode=0",
        )
    return CudaDevice(
        ordinal=ordinal,
        name=_words(found.name),
        compute_capability=(int(found.major), int(found.minor)),
        multiprocessors=int(found.multiProcessorCount),
        memory_bytes=int(found.totalGlobalMem),
        integrated=bool(found.integrated),
        pci_bus_id=_words(check(cudart.cudaDeviceGetPCIBusId(_PCI_BUS_ID_LENGTH, ordinal), "PCI bus id", cudart)),
        driver_version=_version(check(cudart.cudaDriverGetVersion(), "cudaDriverGetVersion", cudart)),
        runtime_version=_version(check(cudart.cudaRuntimeGetVersion(), "cudaRuntimeGetVersion", cudart)),
    )


def _driver_error(cudart: Any, detail: str) -> RuntimeUnavailable:
    """Tell apart the two causes of error 35: no driver at all, or one of an older CUDA."""
    served, wanted = _versions(cudart)
    if not served:
        return RuntimeUnavailable(f"{NO_DRIVER} ({detail})", NO_DRIVER_FIX)
    major = _version(served).partition(".")[0]
    return RuntimeUnavailable(
        f"the NVIDIA driver serves CUDA up to {_version(served)}, cuda-bindings brings CUDA {_version(wanted)} ({detail})",
        f"pip install 'cuda-bindings=={major}.*', or install a newer NVIDIA driver",
    )


def _versions(cudart: Any) -> tuple[int, int]:
    try:
        return int(cudart.cudaDriverGetVersion()[1] or 0), int(cudart.cudaRuntimeGetVersion()[1] or 0)
    except Exception:
        return 0, 0  # without a module, or where the driver's library itself is missing


def _text(error: Any, cudart: Any) -> str:
    try:
        return _words(cudart.cudaGetErrorString(error)[1])
    except Exception:
        return "no text"


def _version(number: int) -> str:
    """Return CUDA's number of a version, 1000 * major + 10 * minor, as "major.minor"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _words(value: bytes | str) -> str:
    return value.decode(errors="replace").rstrip("\0") if isinstance(value, bytes) else str(value)
