"""Versions of installed packages, read without importing any."""

from __future__ import annotations

import re
from importlib import metadata

ENGINE_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    *("cuda-bindings", "torch", "onnx", "pillow"),
)
"""Packages that decide what a backend does."""


def installed_versions() -> dict[str, str]:
    """Return distribution -> version of everything that is installed, names in lower case."""
    return {(one.metadata["Name"] or "").lower(): one.version for one in metadata.distributions()}


def version_pair(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version, (10, 13) of "10.13.3.9"; zeros where there are none."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)
