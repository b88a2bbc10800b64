"""What an NVIDIA GPU needs and has: driver, device files, the power mode of a Jetson."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgecnn.devices.detect import detect
from edgecnn.devices.sysfs import matching
from edgecnn.doctor.finding import Finding, Health

# The files that CUDA opens: of a graphics card, and of a Jetson up to JetPack 5.
_DEVICE_FILES = ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvhost-gpu", "dev/nvmap")


def gpu(root: Path = Path("/")) -> Iterator[Finding]:
    """Yield what is to be said of an NVIDIA GPU; one line where there is none.

    Args:
        root: folder that stands for "/".
    """
    device = detect(root)
    files = [file for pattern in _DEVICE_FILES for file in matching(root, pattern)]
    if device.gpu is None and device.gpu_driver is None and not files:
        fix = "backends cuda, ort-trt and trt need an NVIDIA GPU with its driver"
        yield _finding("nvidia", "unavailable", "no NVIDIA driver is loaded", fix)
        return
    driver = f"driver {device.gpu_driver}" if device.gpu_driver else "driver version unknown"
    yield _finding("nvidia", "ok", f"{device.gpu or 'an unknown GPU'}, {driver}")
    closed = [file for file in files if not os.access(file, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(f"/{file.relative_to(root)}" for file in closed)
        fix = "sudo usermod -aG video,render $USER, then log in again"
        yield _finding("permissions", "broken", f"this user may not open {names}", fix)
    if not files:
        fix = "start the container with --gpus all (Docker) or --runtime nvidia (Jetson)"
        yield _finding("permissions", "broken", "the device files /dev/nvidia* are missing", fix)
    if device.power_mode:
        yield _finding("power mode", "ok", device.power_mode)


def _finding(name: str, health: Health, message: str, fix: str = "") -> Finding:
    return Finding(topic="gpu", name=name, health=health, message=message, fix=fix)
