"""Getting hold of TensorRT: is it installed, does it load, which version.

A TensorRT Runtime that is made where CUDA does not work is an object whose first use ends the process. So nothing is
constructed here, and `available_trt` asks CUDA before it imports TensorRT.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import platform
import re
from pathlib import Path
from typing import Any

from edgecnn.errors import MissingDependency, RuntimeUnavailable, first_line
from edgecnn.installed import version_pair
from edgecnn.runtimes.nvidia.cudart import NO_DRIVER, NO_DRIVER_FIX, CudaDevice, probe

FLAVOURS = ("tensorrt", "tensorrt_rtx")
"""Import names: TensorRT, and TensorRT for RTX, which has the same interface and needs no GPU to build."""

OLDEST = (10, 3)
"""The first version that this code is for; older ones have no strongly typed network with all that it uses."""

_PURPOSE = "backend trt"


def available_trt(flavour: str = "tensorrt", *, ordinal: int = 0, cudart: Any = None) -> tuple[Any, CudaDevice]:
    """Return TensorRT's module and the GPU that it will use.

    Args:
        flavour: one of `FLAVOURS`.
        ordinal: the GPU's number, from 0.
        cudart: the CUDA runtime, or a fake; None loads it.

    Raises:
        RuntimeUnavailable: there is no driver or no GPU, or TensorRT is installed and does not load or is too old.
        MissingDependency: there is a driver, but TensorRT or cuda-bindings is not installed.
    """
    installed = importlib.util.find_spec(flavour) is not None
    try:
        device = probe(cudart, ordinal, extra="trt", purpose=_PURPOSE)
    except MissingDependency:
        # Without a driver, the packages would be of no use: the driver comes first.
        if not _driver_loads():
            raise RuntimeUnavailable(NO_DRIVER, f"{NO_DRIVER_FIX}; then: pip install 'edgecnn[trt]'") from None
        raise
    except RuntimeUnavailable as error:
        if not installed:
            error.hint += f"; then: {missing_trt(flavour).hint}"
        raise
    return load_trt(flavour), device


def load_trt(flavour: str = "tensorrt") -> Any:
    """Return TensorRT's module; this needs no GPU, and constructing anything from it may.

    Raises:
        MissingDependency: it is not installed.
        RuntimeUnavailable: it does not load, or is older than `OLDEST`.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"{flavour!r} is none of {', '.join(FLAVOURS)}")
    if importlib.util.find_spec(flavour) is None:
        raise missing_trt(flavour)
    try:
        module = importlib.import_module(flavour)
        version = str(module.__version__)
    except Exception as error:
        raise _unusable(flavour, error) from error
    if flavour == "tensorrt" and version_pair(version) < OLDEST:
        raise RuntimeUnavailable(
            f"TensorRT {version} is installed, 10.3 is the oldest that works here",
            "pip install --upgrade 'edgecnn[trt]'; on a Jetson, JetPack 6.1 or newer has it",
        )
    return module


def missing_trt(flavour: str, root: Path = Path("/")) -> MissingDependency:
    """Return the error that says how to get TensorRT; on a Jetson it is one of the system's packages.

    Args:
        flavour: one of `FLAVOURS`.
        root: folder that stands for "/".
    """
    from edgecnn.devices.nvidia import l4t_release  # noqa: PLC0415 (not for an app whose TensorRT is there)

    error = MissingDependency(flavour, "trt", _PURPOSE)
    if flavour != "tensorrt":
        error.hint = "pip install tensorrt-rtx-cu13"
    elif l4t_release(root):
        error.hint = "sudo apt install python3-libnvinfer, then python3 -m venv --system-site-packages FOLDER"
    elif platform.machine() != "x86_64":
        error.hint = "pip install tensorrt-cu13"  # no part of the extra there: a Jetson has its own
    return error


def _unusable(flavour: str, error: Exception) -> RuntimeUnavailable:
    # The dynamic loader's words: "libnvinfer.so.10: cannot open shared object file: No such file or directory".
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", str(error))
    if library is None:
        return RuntimeUnavailable(
            f"{flavour} is installed but cannot be imported: {type(error).__name__}: {first_line(error)}",
            "pip install --force-reinstall 'edgecnn[trt]'",
        )
    return RuntimeUnavailable(
        f"{flavour} is installed but its library {library[1]} is not found",
        "pip install --force-reinstall 'edgecnn[trt]', or put the folder of that library on LD_LIBRARY_PATH before the start",
    )


def _driver_loads() -> bool:
    """Return whether the NVIDIA driver's own library can be loaded; this starts nothing on the GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
