"""Loading an engine, from the cache where it is there, or else built now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecnn.errors import RuntimeUnavailable, first_line
from edgecnn.jsonform import to_json
from edgecnn.runtimes.cache import Cache
from edgecnn.runtimes.nvidia.cudart import CudaDevice
from edgecnn.runtimes.trt.builder import build_plan
from edgecnn.runtimes.trt.engine_key import engine_key
from edgecnn.runtimes.trt.logger import engine_logger, last_errors
from edgecnn.runtimes.trt.options import BuildOptions
from edgecnn.runtimes.trt.progress import Progress
from edgecnn.runtimes.trt.timing_cache import TimingCache
from edgecnn.specs import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEngine:
    """An engine that is ready for execution contexts.

    Attributes:
        engine: an ICudaEngine.
        keeps: what must live as long as it.
        from_cache: it was not built now.
        plan: its bytes.
        facts: what it was built with, and how long that took where it was built now.
    """

    engine: Any
    keeps: tuple[Any, ...]
    from_cache: bool
    plan: bytes
    facts: Mapping[str, Scalar]


class EngineSource:
    """Makes or finds the engine of one model on one GPU. CUDA must work, and that GPU must be the thread's current one.

    Args:
        trt: the module.
        device: the GPU.
        path: the .onnx file.
        model_sha256: of that file.
        build: how the engine is built.
        cache: where engines are kept; None builds each time.
        timing: whether builds share their measurements; needs a cache.
        progress: told how far a build is.
    """

    def __init__(
        self,
        trt: Any,
        device: CudaDevice,
        path: Path,
        model_sha256: str,
        build: BuildOptions,
        *,
        cache: Cache | None,
        timing: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._trt, self._path, self._build = trt, path, build
        self._cache, self._progress = cache, progress
        self._timing = TimingCache(cache, trt, device) if cache and timing else None
        self.key = engine_key(trt, device, model_sha256, build)

    def load(self) -> LoadedEngine:
        """Return the engine. Of many processes that want it, one builds it.

        An engine of the cache that TensorRT does not load is dropped and built again, once.

        Raises:
            BadInput, ModelError: the model cannot be built, see `build_plan`.
            UnavailableError: the cache cannot be used.
            RuntimeUnavailable: TensorRT does not load what it has built.
        """
        plan, facts = self.plan()
        engine, runtime = deserialize(self._trt, plan)
        if engine is None and self._cache is not None and not facts:
            self._cache.drop(self.key)
            plan, facts = self.plan()
            engine, runtime = deserialize(self._trt, plan)
        if engine is None:
            if self._cache is not None:
                self._cache.drop(self.key)
            raise RuntimeUnavailable(
                f"TensorRT does not load the engine that it has built: {last_errors(self._trt) or 'it gives no reason'}",
                "edgecnn doctor tells what CUDA and TensorRT find",
            )
        stated: dict[str, Scalar] = to_json(self._build)
        return LoadedEngine(engine=engine, keeps=(runtime,), from_cache=not facts, plan=plan, facts={**stated, **facts})

    def plan(self) -> tuple[bytes, dict[str, Scalar]]:
        """Return the plan, out of the cache where it has it, and facts about the build if that was now.

        Raises:
            BadInput, ModelError, UnavailableError: as `load`.
        """
        facts: dict[str, Scalar] = {}

        def build() -> bytes:
            built = build_plan(self._trt, self._path, self._build, timing=self._timing, progress=self._progress)
            facts.update(build_seconds=round(built.build_ns / 1e9, 3), build_warnings=len(built.warnings))
            return built.plan

        def write(path: Path) -> None:
            path.write_bytes(build())

        if self._cache is None:
            return build(), facts
        with suppress(FileNotFoundError):  # another process made room in the cache just now
            return self._cache.get_or_make(self.key, "network.engine", write).read_bytes(), facts
        return self._cache.get_or_make(self.key, "network.engine", write).read_bytes(), facts


def deserialize(trt: Any, plan: bytes) -> tuple[Any | None, Any]:
    """Return the engine of a plan, None where TensorRT does not take it, and the trt.Runtime that must outlive it.

    The plan is code: load only what this user has built. CUDA must work, see `available_trt`.

    Raises:
        RuntimeUnavailable: TensorRT gives no runtime.
    """
    logger = engine_logger(trt)
    logger.clear()
    try:
        runtime = trt.Runtime(logger)
    except TypeError as error:
        raise RuntimeUnavailable(
            f"TensorRT {trt.__version__} gives no runtime here: {last_errors(trt) or first_line(error)}",
            "edgecnn doctor tells what CUDA and TensorRT find",
        ) from error
    return runtime.deserialize_cuda_engine(plan), runtime
