"""Where ONNX Runtime's TensorRT provider keeps its engines: one private folder per model, GPU, versions and options.

The provider writes engines under names of its own and asks little before it takes one; a folder for each key makes sure
that it never sees one of another model, version or GPU. An entry of `edgecnn.runtimes.cache` beside the folder says that
it is whole, and its lock lets one process build while the others wait.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput, InferenceError, RuntimeUnavailable
from edgecnn.files import replacing
from edgecnn.runtimes.base import OpenOptions, Session
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.specs import Artifact

_SCHEMA = 1
_MARK = "ort-trt.json"
_TIMING = "*.timing"


class EngineFolder:
    """The folder of one model's engines.

    Args:
        artifact: the model.
        options: `cache_folder` says where.
        device: the GPU.
        chosen: versions and provider options, all of what an engine depends on besides.
    """

    def __init__(self, artifact: Artifact, options: OpenOptions, device: CudaDevice, chosen: dict[str, str]) -> None:
        self.cache = Cache(options.cache_folder)
        gpu = {
            "gpu": device.name,
            "compute_capability": list(device.compute_capability),
            "multiprocessors": device.multiprocessors,
            "driver": device.driver_version,
        }
        self.key: dict[str, Any] = {
            "kind": "ort-trt",
            "schema": _SCHEMA,
            "model": artifact.sha256 or file_sha256(artifact.path),
            **gpu,
            "options": dict(chosen),
        }
        versions = {name: chosen.get(name, "") for name in ("onnxruntime", "tensorrt")}
        self.path = self.cache.folder / f"ort-trt-{_digest(self.key)}"
        self._timing = self.cache.folder / f"ort-trt-timing-{_digest({**gpu, **versions})}"

    def options(self) -> dict[str, str]:
        """Return the provider's options that make it use this folder."""
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.path),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(self.path),
        }

    def clear(self) -> None:
        """Make the folder anew, for this user alone, with nothing in it but what earlier builds measured on this GPU."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(mode=0o700)
        for known in self._timing.glob(_TIMING) if self._timing.is_dir() else ():
            shutil.copy(known, self.path / known.name)

    def share_timing(self) -> None:
        """Keep what this build measured for the next one; nothing is lost where that fails."""
        with suppress(OSError):
            self._timing.mkdir(mode=0o700, exist_ok=True)
            for measured in self.path.glob(_TIMING):
                with replacing(self._timing / measured.name) as temporary:
                    shutil.copy(measured, temporary)


def open_cached(folder: EngineFolder, open_session: Callable[[], Session]) -> Session:
    """Return a session whose engines come out of a folder, built now unless it is whole.

    Args:
        folder: of this model's engines.
        open_session: opens and warms a session that keeps its engines in that folder.

    Raises:
        UnavailableError: the cache's folder is not private or cannot be written to.
        EdgecnnError: whatever `open_session` raises.
    """
    if folder.cache.get(folder.key) is not None and folder.path.is_dir():
        try:
            return open_session()
        except (BadInput, InferenceError, RuntimeUnavailable):
            folder.cache.drop(folder.key)  # the engines may be what is wrong: build them once more
    built: list[Session] = []

    def build(mark: Path) -> None:
        # First: whoever makes room in the cache sees by it whose folder this is, and that its lock is held.
        mark.write_text(json.dumps({"folder": folder.path.name}) + "\n", encoding="utf-8")
        folder.clear()
        built.append(open_session())
        folder.share_timing()

    folder.cache.get_or_make(folder.key, _MARK, build)
    # Where another process built them meanwhile, there is no session yet.
    return built[0] if built else open_session()


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]
