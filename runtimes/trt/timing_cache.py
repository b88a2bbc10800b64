"""What earlier builds measured, kept for later ones: a second build of a similar network takes a fraction of the time.

The times hold for one version of TensorRT on one kind of GPU. A build that finds none, or damaged ones, measures anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecnn.errors import UnavailableError
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice


class TimingCache:
    """The timing cache of one TensorRT version and kind of GPU, in a folder that processes share.

    Args:
        cache: where it lies.
        trt: the module. TensorRT for RTX has no timings: with it, nothing is loaded or saved.
        device: the GPU.
    """

    def __init__(self, cache: Cache, trt: Any, device: CudaDevice) -> None:
        self._cache = cache
        self._wanted = trt.__name__ == "tensorrt"
        self._key = {
            "kind": "tensorrt timing cache",
            "version": str(trt.__version__),
            "gpu": device.name,
            "compute_capability": device.sm,
            "driver": device.driver_version,
        }

    def load(self, config: Any) -> None:
        """Give an IBuilderConfig the kept times, an empty set where there are none."""
        if self._wanted:
            timings = config.create_timing_cache(self._kept())
            if timings is not None:
                config.set_timing_cache(timings, False)

    def save(self, config: Any) -> None:
        """Add what a build measured to the kept times; those that another process added meanwhile stay.

        A folder that cannot be written to is no failure of the build, which is done.
        """
        timings = config.get_timing_cache() if self._wanted else None
        if timings is None:
            return

        def write(path: Path) -> None:
            others = config.create_timing_cache(self._kept())
            if others is not None:
                timings.combine(others, False)
            path.write_bytes(bytes(timings.serialize()))

        try:
            self._cache.put(self._key, "timing.cache", write)
        except UnavailableError:
            return

    def _kept(self) -> bytes:
        try:
            path = self._cache.get(self._key)
            return path.read_bytes() if path else b""
        except (OSError, UnavailableError):
            return b""
