"""Models as ONNX Runtime has optimised them, kept between processes, so that a later session is opened without that work.

An optimised file holds the layout of one kind of processor and operators of one version of the engine: it is good for
nothing elsewhere, and its key says for what it is. A file gives the same answers, bit for bit, as the model that it was
made from. It is kept packed (`edgecnn.runtimes.ort.packed`), so that opening it does not read its weights.

What is looked up must not cost what it saves, and reading two files for their SHA-256 costs more than optimising a small
network. So a ticket (`edgecnn.runtimes.tickets`) remembers that both files were read and fitted; as long as they stay,
neither is read for more than loading it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgecnn.artifacts import file_sha256
from edgecnn.errors import BadInput
from edgecnn.procfs import read_text
from edgecnn.runtimes.tickets import Ticket, identity, is_own, is_settled
from edgecnn.specs import Scalar

if TYPE_CHECKING:
    from edgecnn.runtimes.cache import Cache

_NAME = "optimised.packed"

# Entries that say how a graph is run and nothing about how it is rewritten.
_RUN_ONLY = (
    "session.intra_op",
    "session.force_spinning_stop",
    "session.dynamic_block_base",
    "session.enable_mem_pattern",
)

# Of /proc/cpuinfo, what tells kinds of processors apart: x86, then Arm.
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")

Opened = TypeVar("Opened")


def open_optimised(
    folder: Path | None,
    model: Path,
    key: Mapping[str, Any],
    *,
    make: Callable[[Path, str], Opened],
    load: Callable[[Path], Opened],
) -> Opened:
    """Return what `load` gives for the optimised form of a model, or what `make` gives where it has to be made first.

    Args:
        folder: where optimised models are kept; None is `edgecnn.runtimes.cache.default_folder()`.
        model: the file.
        key: what an optimised form depends on besides the model's content, see `optimised_key`.
        make: opens the model and writes its optimised form to the path; the name is what the file will be called.
        load: opens the optimised form.

    Raises:
        UnavailableError: the cache's folder is not private or cannot be written to.
        BadInput: the model cannot be read.
        EdgecnnError: whatever `make` raises.
    """
    if folder is None:
        from edgecnn.runtimes.cache import default_folder  # noqa: PLC0415 (those who name a folder do not need it)

        folder = default_folder()
    ticket = Ticket(folder, [str(model.absolute()), key])
    path = _remembered(ticket, folder, model)
    if path is not None:
        with suppress(BadInput):
            return load(path)
    from edgecnn.runtimes.cache import Cache  # noqa: PLC0415 (a ticket that fits does not need it)

    cache = Cache(folder)
    before = identity(model)
    whole_key = {**key, "model_sha256": _digest(model)}
    opened, path = _get_or_make(cache, whole_key, make, load)
    if before is None or identity(model) != before:
        # What was read for the digest and what was optimised may be two files.
        cache.drop(whole_key)
    elif is_settled(before):
        ticket.write({"optimised": path.name, "identities": [before, identity(path)]})
    return opened


def _remembered(ticket: Ticket, folder: Path, model: Path) -> Path | None:
    """Return the optimised file if it and the model are as they were; None where anything is in doubt."""
    kept = ticket.read()
    if kept is None or not isinstance(kept.get("optimised"), str):
        return None
    path = folder / Path(kept["optimised"]).name
    try:
        fits = kept.get("identities") == [identity(model), identity(path)]
        return path if fits and is_own(path.lstat()) else None
    except OSError:
        return None


def _get_or_make(
    cache: Cache, key: Mapping[str, Any], make: Callable[[Path, str], Opened], load: Callable[[Path], Opened]
) -> tuple[Opened, Path]:
    """Return what was opened, and the optimised file."""
    made: list[Opened] = []

    def write(path: Path) -> None:
        made[:] = [make(path, path.name.removeprefix("."))]

    path = cache.get_or_make(key, _NAME, write)
    if not made:
        with suppress(BadInput):
            return load(path), path
        # Whole, and yet the engine does not read it: what made it was no engine like this one.
        path = cache.put(key, _NAME, write)
    return made[0], path


def _digest(model: Path) -> str:
    try:
        return file_sha256(model)
    except OSError as error:
        raise BadInput(f"cannot read {model}: {error.strerror}", "export it again") from error


def optimised_key(engine: Any, entries: Mapping[str, Scalar], *, root: Path = Path("/")) -> dict[str, Any]:
    """Return what an optimised model depends on besides the model: engine, processor, level, entries that rewrite graphs.

    The number of threads is no part of it: the engine rewrites the same way for any.

    Args:
        engine: the module.
        entries: the session's configuration entries.
        root: folder that stands for "/".
    """
    return {
        "what": "optimised model",
        "engine": f"onnxruntime {engine.__version__}",
        "build": engine.get_build_info() if hasattr(engine, "get_build_info") else "",
        "cpu": cpu_kinds(root),
        "level": "all",
        "entries": {name: value for name, value in sorted(entries.items()) if not name.startswith(_RUN_ONLY)},
    }


def cpu_kinds(root: Path = Path("/")) -> tuple[str, ...]:
    """Return architecture and the kinds of processors of this machine, with the instructions they have.

    Where there is no /proc/cpuinfo, the architecture alone has to do.
    """
    kinds = set()
    for block in (read_text(root / "proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        found = {name.strip(): value.strip() for name, _, value in pairs}
        kinds.add(" / ".join(found.get(name, "") for name in _CPU_FIELDS))
    return (platform.machine(), *sorted(kinds))
