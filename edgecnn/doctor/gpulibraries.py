"""Which shared libraries the installed ONNX Runtime needs for NVIDIA GPUs, and which of them are here; none is loaded."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from edgecnn.doctor.finding import Finding
from edgecnn.runtimes.nvidia.elf import needed_libraries
from edgecnn.runtimes.nvidia.sharedlibs import wheel_folders

PROVIDERS = {"cuda": "libonnxruntime_providers_cuda.so", "ort-trt": "libonnxruntime_providers_tensorrt.so"}
"""Backend -> the library of its provider."""

# Of what a provider needs, what CUDA, cuDNN and TensorRT bring; the rest is part of every Linux.
_BRANDS = ("libcu", "libnv")

_LDCONFIG = ("/sbin/ldconfig", "-p")


def gpu_libraries(folder: Path | None = None, known: Collection[str] | None = None) -> Iterator[Finding]:
    """Yield what is needed and found for each provider that is installed.

    Args:
        folder: where the providers' libraries lie; None is the installed engine's.
        known: names of the libraries of this machine; None asks the system's loader and the installed wheels.
    """
    folder = _engine_folder() if folder is None else folder
    for backend, name in PROVIDERS.items():
        path = folder / name if folder else None
        if path is not None and path.is_file():
            here = _known() if known is None else known
            yield _finding(backend, [one for one in needed_libraries(path) if one.startswith(_BRANDS)], here)


def _finding(backend: str, needed: Sequence[str], known: Collection[str]) -> Finding:
    missing = [name for name in needed if name not in known]
    found = [name for name in needed if name in known]
    message = f"needs {', '.join(needed)}; " + (f"missing: {', '.join(missing)}" if missing else "all are here")
    return Finding(
        topic="gpu",
        name=f"libraries of {backend}",
        health="unavailable" if missing else "ok",
        message=message if found or not missing else f"needs {', '.join(needed)}; none of them is here",
        fix=f"what backend {backend} says below installs them" if missing else "",
    )


def _engine_folder() -> Path | None:
    spec = importlib.util.find_spec("onnxruntime")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "capi" if places else None


def _known() -> frozenset[str]:
    """Return the libraries that the system's loader lists and those of installed wheels."""
    try:
        done = subprocess.run(_LDCONFIG, capture_output=True, text=True, check=False, timeout=30)
        listed = {line.split()[0] for line in done.stdout.splitlines() if "=>" in line}
    except (OSError, subprocess.TimeoutExpired):
        listed = set()
    wheels = {path.name for folder in wheel_folders() for path in folder.iterdir()}
    return frozenset(listed | wheels)
