"""What an engine depends on: the key of the cache, and what tells an engine of another machine or version."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.jsonform import to_json
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.trt.options import BuildOptions

_MIB = 1 << 20

_TOLD = {
    "gpu": "GPU",
    "compute_capability": "compute capability",
    "version": "TensorRT",
    "flavour": "package",
    "driver": "driver",
    "cuda_runtime": "CUDA runtime",
    "l4t": "Jetson Linux",
    "machine": "processor",
    "os": "system",
}


def engine_key(
    trt: Any, device: CudaDevice, model_sha256: str, options: BuildOptions, *, root: Path = Path("/")
) -> dict[str, Any]:
    """Return all that an engine depends on, in plain JSON values.

    Args:
        trt: the module that builds it.
        device: the GPU.
        model_sha256: of the .onnx file, which has its weights inside.
        options: how it is built.
        root: folder that stands for "/".
    """
    return {
        "kind": "tensorrt engine",
        "schema": 1,
        "model_sha256": model_sha256,
        **machine_key(trt, device, root=root),
        "build": to_json(options),
    }


def machine_key(trt: Any, device: CudaDevice, *, root: Path = Path("/")) -> dict[str, Any]:
    """Return what of the key is this machine's and this TensorRT's.

    Args:
        trt: the module.
        device: the GPU.
        root: folder that stands for "/".
    """
    # Not for an app that never opens this backend.
    from edgecnn.devices.nvidia import driver_version, l4t_release  # noqa: PLC0415

    return {
        "flavour": str(trt.__name__),
        "version": str(trt.__version__),
        "gpu": device.name,
        "compute_capability": "{}.{}".format(*device.compute_capability),
        "multiprocessors": device.multiprocessors,
        # To 256 MiB: what a driver keeps for itself differs from start to start.
        "memory_mib": round(device.memory_bytes / _MIB / 256) * 256,
        "driver_cuda": device.driver_version,
        "driver": driver_version(root),
        "cuda_runtime": device.runtime_version,
        "os": platform.system(),
        "machine": platform.machine(),
        "l4t": l4t_release(root),
        "dla_core": None,
    }


def differences(built: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return in words what an engine was built for that is otherwise here, "" where it was built for this machine.

    Args:
        built: key of the engine; entries that are missing in it count as different.
        here: `machine_key` of this machine.
    """
    parts = []
    for name, value in here.items():
        if built.get(name) != value:
            parts.append(f"{_TOLD.get(name, name)} {_plain(built.get(name))}, here {_plain(value)}")
    return "; ".join(parts)


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
