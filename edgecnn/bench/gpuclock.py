"""Why an NVIDIA GPU runs below the clock that it was asked for, as NVML tells; None where there is no such GPU.

Bits: NVML API reference, nvmlClocksEventReasons (before driver 535: nvmlClocksThrottleReasons).
"""

from __future__ import annotations

from pathlib import Path

from edgecnn.bench.gpu import GPU_BACKENDS, Gpu
from edgecnn.procfs import read_text
from edgecnn.specs import EngineInfo

HELD_BACK = {
    0x4: (
        "the power limit held the GPU's clock back",
        "a higher power limit (nvidia-smi -pl), or name it with the result",
    ),
    0x8: ("the GPU's hardware slowed it down (heat or power)", "see to cooling and power supply"),
    0x20: ("the driver slowed the GPU down for its temperature", "see to cooling"),
    0x40: ("the GPU's hardware slowed it down for its temperature", "see to cooling"),
    0x80: ("the power supply made the GPU slow down (power brake)", "see to the power supply"),
}
"""What each bit means and what helps; idling and clocks that were set on purpose are no fault."""

REASONS_FILE = "run/edgecnn/gpu_clock_reasons"
"""Where a helper with more rights, or a test, may leave the bits as a number; it goes before NVML."""


def read_gpu_reasons(info: EngineInfo, gpu: Gpu | None, *, root: Path = Path("/")) -> int | None:
    """Return NVML's bits for the GPU that an engine uses; None for one that uses none, or where they cannot be read.

    Args:
        info: what runs the model.
        gpu: that it runs on.
        root: folder that stands for "/".
    """
    if info.backend not in GPU_BACKENDS:
        return None
    text = (read_text(root / REASONS_FILE) or "").strip()
    try:
        return int(text, 0)
    except ValueError:
        pass
    if gpu is None:
        return None
    try:
        return int(gpu.library.nvmlDeviceGetCurrentClocksEventReasons(gpu.handle))
    except gpu.library.NVMLError:
        return None
