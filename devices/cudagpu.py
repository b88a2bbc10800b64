"""Which GPU a CUDA device number means: its PCI address, by which NVML knows it too.

CUDA numbers only the GPUs that it may see (CUDA_VISIBLE_DEVICES), the fastest first; NVML all of them, by address. Source:
NVIDIA, CUDA Driver API, cuDeviceGetPCIBusId.
"""

from __future__ import annotations

import ctypes

LIBRARY = "libcuda.so.1"

_ADDRESS_BYTES = 32


def cuda_address(ordinal: int) -> str | None:
    """Return the PCI address of a CUDA device, "0000:01:00.0" for example; None where there is no driver or no such device.

    Only for a process that uses CUDA anyway: it opens the driver.

    Args:
        ordinal: CUDA's number of the device, from 0.
    """
    device, address = ctypes.c_int(), ctypes.create_string_buffer(_ADDRESS_BYTES)
    try:
        library = ctypes.CDLL(LIBRARY)
        failed = (
            library.cuInit(ctypes.c_uint(0))
            or library.cuDeviceGet(ctypes.byref(device), ctypes.c_int(ordinal))
            or library.cuDeviceGetPCIBusId(address, ctypes.c_int(_ADDRESS_BYTES), device)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else address.value.decode(errors="replace")
