"""Versions of installed packages, read without importing any."""

from __future__ import annotations

from importlib import metadata

ENGINE_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    *("cuda-bindings", "torch", "onnx", "pillow"),
)
"""Packages that decide what a backend does."""


def installed_versions() -> dict[str, str]:
    """Return distribution -> version of everything that is installed, names in lower case."""
    return {(one.metadata["Name"] or "").lower(): one.version for one in metadata.distributions()}
