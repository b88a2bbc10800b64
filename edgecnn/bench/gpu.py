"""The NVIDIA GPU that an engine runs on, as NVML knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgecnn.devices.cudagpu import cuda_address
from edgecnn.devices.nvml import NVMLError, load_nvml
from edgecnn.specs import EngineInfo

GPU_BACKENDS = ("cuda", "ort-trt", "trt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU.

    Attributes:
        library: gives NVML's functions, opened.
        handle: of the GPU.
    """

    library: Any
    handle: Any


def engine_gpu(
    info: EngineInfo,
    *,
    root: Path = Path("/"),
    nvml: Any = None,
    address: Callable[[int], str | None] = cuda_address,
) -> Gpu | None:
    """Return the GPU that an engine runs on; None for one that uses none, or where it cannot be told which that is.

    Args:
        info: what runs the model.
        root: folder that stands for "/"; the driver is asked only for "/" itself.
        nvml: gives NVML's functions; None takes the driver's.
        address: gives the PCI address of a CUDA device.
    """
    if info.backend not in GPU_BACKENDS:
        return None
    ordinal = _ordinal(info)
    if nvml is not None:
        return _numbered(nvml, ordinal, address)
    return _drivers(ordinal) if root == Path("/") else None


def engine_address(info: EngineInfo) -> str | None:
    """Return the PCI address of the GPU that an engine runs on; None for one that uses none, or where it is unknown."""
    return cuda_address(_ordinal(info)) if info.backend in GPU_BACKENDS else None


def _ordinal(info: EngineInfo) -> int:
    return int(info.options.get("device_id") or 0)


@cache
def _drivers(ordinal: int) -> Gpu | None:
    try:
        return _numbered(load_nvml(), ordinal, cuda_address)
    except NVMLError:
        return None


def _numbered(library: Any, ordinal: int, address: Callable[[int], str | None]) -> Gpu | None:
    """Return the GPU of that CUDA number; where there are several, by its address."""
    try:
        library.nvmlInit()
        if library.nvmlDeviceGetCount() == 1:
            return Gpu(library=library, handle=library.nvmlDeviceGetHandleByIndex(0))
        known = address(ordinal)
        return None if known is None else Gpu(library=library, handle=library.nvmlDeviceGetHandleByPciBusId(known))
    except library.NVMLError:
        return None
