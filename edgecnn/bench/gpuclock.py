"""Why an NVIDIA GPU runs below the clock that it was asked for, as NVML tells; None where there is no such GPU.

Bits: NVML API reference, nvmlClocksEventReasons (before driver 535: nvmlClocksThrottleReasons).
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

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

GPU_BACKENDS = ("cuda", "ort-trt", "trt")
_LIBRARY = "libnvidia-ml.so.1"
_FUNCTIONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")


def read_gpu_reasons(info: EngineInfo, *, root: Path = Path("/")) -> int | None:
    """Return NVML's bits for the first GPU; None for an engine that uses none, or where they cannot be read.

    Args:
        info: what runs the model.
        root: folder that stands for "/"; NVML is asked only for "/" itself.
    """
    if info.backend not in GPU_BACKENDS:
        return None
    text = (read_text(root / REASONS_FILE) or "").strip()
    try:
        return int(text, 0)
    except ValueError:
        return _by_nvml() if root == Path("/") else None


def _by_nvml() -> int | None:
    opened = _first_gpu()
    if opened is None:
        return None
    function, handle = opened
    bits = ctypes.c_ulonglong()
    return bits.value if function(handle, ctypes.byref(bits)) == 0 else None


@cache
def _first_gpu() -> tuple[Any, ctypes.c_void_p] | None:
    try:
        library = ctypes.CDLL(_LIBRARY)
        function = next(getattr(library, name) for name in _FUNCTIONS if hasattr(library, name))
        handle = ctypes.c_void_p()
        done = library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)) == 0
    except (OSError, AttributeError, StopIteration):
        return None
    return (function, handle) if done else None
