"""Backend `cpu`: ONNX Runtime's CPU provider, on x86-64 and 64-bit Arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecnn.errors import BadInput, Contradiction
from edgecnn.runtimes.base import OpenOptions, Session, check_cache_folder, check_honoured
from edgecnn.runtimes.ort.bound import BoundOrtSession
from edgecnn.runtimes.ort.session import CPU_PROVIDER, check_system, import_engine, session_options
from edgecnn.runtimes.threads import usable_threads
from edgecnn.specs import Artifact, Scalar

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from edgecnn.values import dataclass

_HONOURED = ("threads", "spinning", "arena", "allow_fallback", "cache", "cache_folder")

_MEM_PATTERN = "session.enable_mem_pattern"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What an opening comes to, with all that the options leave open decided.

    Attributes:
        threads: of one operator.
        entries: configuration of the session.
        mem_pattern: plan the memory of each input shape.
    """

    threads: int
    entries: Mapping[str, Scalar]
    mem_pattern: bool


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
        check_cache_folder(options)
        settled = _settled(engine, options)
        if options.cache:
            return _open_kept(engine, artifact, options, settled)
        return _opened(engine, artifact, options, settled, _configured(engine, options, settled))


def _open_kept(engine: Any, artifact: Artifact, options: OpenOptions, settled: _Settled) -> Session:
    """Return a session of the optimised model that is kept, or one that leaves it behind for the next."""
    from edgecnn.runtimes.ort.optimised import open_optimised, optimised_key  # noqa: PLC0415 (few apps keep any)
    from edgecnn.runtimes.ort.packed import packing, unpacked_graph  # noqa: PLC0415

    def make(path: Path, name: str) -> Session:
        chosen = _configured(engine, options, settled)
        with packing(engine, chosen, path, name):
            return _opened(engine, artifact, options, settled, chosen, "made")

    def load(path: Path) -> Session:
        chosen = _configured(engine, options, settled)
        chosen.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _opened(engine, artifact, options, settled, chosen, "from cache", unpacked_graph(chosen, path))

    key = optimised_key(engine, options.engine)
    return open_optimised(options.cache_folder, artifact.path, key, make=make, load=load)


def _configured(engine: Any, options: OpenOptions, settled: _Settled) -> Any:
    chosen = session_options(engine, options, settled.threads, settled.entries)
    chosen.enable_mem_pattern = settled.mem_pattern
    return chosen


def _opened(
    engine: Any,
    artifact: Artifact,
    options: OpenOptions,
    settled: _Settled,
    chosen: Any,
    optimised: str = "off",
    graph: bytes | None = None,
) -> Session:
    """Return a session.

    Args:
        engine: the module.
        artifact: the model.
        options: as asked for.
        settled: what they come to.
        chosen: SessionOptions.
        optimised: what `info().options` says about the optimised model.
        graph: the optimised model, where it is there already.
    """
    described: dict[str, Scalar] = {
        "graph_optimization": "all",
        "mem_pattern": settled.mem_pattern,
        "optimised_model": optimised,
        **settled.entries,
    }
    return BoundOrtSession(
        engine,
        artifact,
        options,
        backend=CpuRuntime.name,
        providers=[(CPU_PROVIDER, {})],
        chosen=chosen,
        threads=settled.threads,
        described=described,
        graph=graph,
    )


def _settled(engine: Any, options: OpenOptions) -> _Settled:
    """Return what an opening comes to.

    Raises:
        UnknownName, Contradiction, RuntimeUnavailable, BadInput: see `CpuRuntime.open`.
    """
    threads = options.threads or usable_threads()
    entries = _checked_entries(engine, options, threads) if options.engine else {}
    # A plan of the memory for each input shape pays where that memory is kept; without the arena it only adds to it.
    pattern = entries.pop(_MEM_PATTERN, options.arena)
    return _Settled(threads=threads, entries=entries, mem_pattern=str(pattern) in ("True", "1"))


def _checked_entries(engine: Any, options: OpenOptions, threads: int) -> dict[str, Scalar]:
    from edgecnn.runtimes.ort.affinity import AFFINITIES, affinity_entry  # noqa: PLC0415 (few apps have entries)
    from edgecnn.runtimes.ort.entries import check_entry  # noqa: PLC0415

    entries = dict(options.engine)
    for key, value in entries.items():
        check_entry(key, value, version=engine.__version__)
        if key.startswith("session.intra_op.spin_") and not options.spinning:
            raise Contradiction(f"engine option {key} and spinning=False exclude each other", "leave one of them out")
    if AFFINITIES in entries:
        affinity = affinity_entry(entries.pop(AFFINITIES), threads)
        entries.update({AFFINITIES: affinity} if affinity else {})
    return entries
