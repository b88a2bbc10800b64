"""What this process holds on its GPU, as NVML tells: CUDA's context, weights, activations and the engine's workspace."""

from __future__ import annotations

import os

from edgecnn.bench.gpu import Gpu


def read_gpu_bytes(gpu: Gpu | None, *, pid: int | None = None) -> int | None:
    """Return bytes on the GPU; None where the driver does not tell, in most containers for example.

    NVML names processes by the numbers that the host gives them, and a container has its own.

    Args:
        gpu: that the engine runs on.
        pid: of the process, by default this one.
    """
    if gpu is None:
        return None
    wanted = os.getpid() if pid is None else pid
    try:
        found = gpu.library.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
    except gpu.library.NVMLError:
        return None
    held = [process.usedGpuMemory for process in found if process.pid == wanted]
    return None if not held or None in held else sum(held)
