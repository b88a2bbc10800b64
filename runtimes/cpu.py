"""Backend `cpu`: ONNX Runtime's CPU provider, on x86-64 and 64-bit Arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecnn.errors import BadInput, Contradiction
from edgecnn.runtimes.base import OpenOptions, Session, check_honoured
from edgecnn.runtimes.ort.affinity import AFFINITIES, affinity_entry
from edgecnn.runtimes.ort.bound import BoundOrtSession
from edgecnn.runtimes.ort.entries import check_entry
from edgecnn.runtimes.ort.session import CPU_PROVIDER, check_system, import_engine, session_options
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, Scalar

_HONOURED = ("threads", "spinning", "arena", "allow_fallback", "cache", "cache_folder")

_MEM_PATTERN = "session.enable_mem_pattern"


class CpuRuntime:
    """ONNX Runtime on the CPU.

    Engine options are the entries of `edgecnn.runtimes.ort.entries`; session.intra_op_thread_affinities takes "big" as
    well, for the large cores of this machine. With `cache=True` the model is kept as the engine has optimised it, see
    `edgecnn.runtimes.ort.optimised`.
    """

    name = "cpu"
    formats = ("onnx",)

    def check(self) -> None:
        """Return if the package onnxruntime can be imported here.

        Raises:
            RuntimeUnavailable: a 32-bit system, for which there is no engine, or an installation that cannot be
                imported.
            MissingDependency: onnxruntime is not installed.
        """
        check_system()
        import_engine()

    def open(self, artifact: Artifact, options: OpenOptions) -> Session:
        """Return a session whose every node runs on the CPU provider.

        Raises:
            BadInput: the engine does not read this file, its operator set is newer than the engine, or the value of an
                engine option cannot be.
            UnknownName: an engine option that is not an entry of `edgecnn.runtimes.ort.entries`.
            Contradiction: an engine option that is a field of OpenOptions, or options that exclude each other.
            RuntimeUnavailable: an engine option that this engine is too old for.
            ProviderFallback: the engine put nodes elsewhere.
            UnavailableError: the cache's folder cannot be used.
        """
        if artifact.format not in self.formats:
            raise BadInput(str(artifact.path), expected="an .onnx file", got=artifact.format)
        engine = import_engine()
        check_honoured(self.name, options, _HONOURED)
        settled = _settled(engine, options)

        def opened(optimised: str, *, read: Path | None = None, write: Path | None = None) -> Session:
            return _opened(engine, artifact, options, optimised, **settled, read=read, write=write)

        if not options.cache:
            return opened("off")
        # They load OpenSSL for their digests: 4 MB and some milliseconds, which an app without a cache does not pay.
        from edgecnn.runtimes.cache import Cache  # noqa: PLC0415
        from edgecnn.runtimes.ort.optimised import FROM_CACHE, MADE, open_optimised, optimised_key  # noqa: PLC0415

        return open_optimised(
            Cache(options.cache_folder),
            artifact.path,
            optimised_key(engine, options.engine),
            make=lambda path: opened(MADE, write=path),
            load=lambda path: opened(FROM_CACHE, read=path),
        )


def _opened(
    engine: Any,
    artifact: Artifact,
    options: OpenOptions,
    optimised: str,
    *,
    threads: int,
    entries: Mapping[str, Scalar],
    mem_pattern: bool,
    read: Path | None = None,
    write: Path | None = None,
) -> Session:
    """Return a session.

    Args:
        engine: the module.
        artifact: the model.
        options: as asked for.
        optimised: what `info().options` says about the optimised model.
        threads: of one operator.
        entries: configuration of the session.
        mem_pattern: plan the memory of each input shape.
        read: a file that is optimised already.
        write: where the optimised model goes to.
    """
    chosen = session_options(engine, options, threads, entries)
    chosen.enable_mem_pattern = mem_pattern
    if read is not None:
        chosen.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
    if write is not None:
        chosen.optimized_model_filepath = str(write)
    described: dict[str, Scalar] = {
        "graph_optimization": "all",
        "mem_pattern": mem_pattern,
        "optimised_model": optimised,
        **entries,
    }
    return BoundOrtSession(
        engine,
        artifact,
        options,
        backend=CpuRuntime.name,
        providers=[(CPU_PROVIDER, {})],
        chosen=chosen,
        threads=threads,
        described=described,
        path=read,
    )


def _settled(engine: Any, options: OpenOptions) -> dict[str, Any]:
    """Return threads, entries and mem_pattern of an opening, with what the options leave open decided.

    Raises:
        UnknownName, Contradiction, RuntimeUnavailable, BadInput: see `CpuRuntime.open`.
    """
    threads = options.threads or usable_threads()
    entries = dict(options.engine)
    for key, value in entries.items():
        check_entry(key, value, version=engine.__version__)
        if key.startswith("session.intra_op.spin_") and not options.spinning:
            raise Contradiction(f"engine option {key} and spinning=False exclude each other", "leave one of them out")
    if AFFINITIES in entries:
        affinity = affinity_entry(entries.pop(AFFINITIES), threads)
        entries.update({AFFINITIES: affinity} if affinity else {})
    # A plan of the memory for each input shape pays where that memory is kept; without the arena it only adds to it.
    pattern = entries.pop(_MEM_PATTERN, options.arena)
    return {"threads": threads, "entries": entries, "mem_pattern": str(pattern) in ("True", "1")}
