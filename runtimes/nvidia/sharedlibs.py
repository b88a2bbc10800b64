"""Finding and loading the shared libraries that a GPU engine needs, before the engine looks for them itself.

The engine's own helper (`onnxruntime.preload_dlls`) prints what it does not find on standard output; this tells it.
A library that is loaded here is found by every later one in the process that asks for it by name.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of the packages that bring libraries of NVIDIA as wheels: import name, and where in it they lie.
_WHEELS = (("nvidia", "*/lib"), ("tensorrt_libs", ""), ("tensorrt_lean_libs", ""))

# What the system's loader says of a file that it does not find; the name can be that of a library further down.
_NOT_FOUND = re.compile(r"^(?P<name>[^\s:/]+): cannot open shared object file")

# Part of every Linux that runs Python; loading them says nothing.
_SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so\.\d+|ld-linux.*")

Load = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingLibrary:
    """A library that is needed and cannot be loaded.

    Attributes:
        name: "libcublasLt.so.13" for example.
        needed_by: the library that needs it.
        reason: what the system's loader says.
    """

    name: str
    needed_by: str
    reason: str


def wheel_folders() -> tuple[Path, ...]:
    """Return the folders of installed wheels that hold libraries of NVIDIA; their packages are not imported."""
    folders: list[Path] = []
    for module, pattern in _WHEELS:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        for place in (spec.submodule_search_locations if spec else None) or ():
            folders += sorted(Path(place).glob(pattern)) if pattern else [Path(place)]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def load_libraries(
    names: Iterable[str], *, needed_by: str, folders: Iterable[Path] | None = None, load: Load = ctypes.CDLL
) -> tuple[MissingLibrary, ...]:
    """Load libraries by name, in order, and return those that cannot be.

    Each is looked for in the wheels first, so that a program gets the versions that were installed with it, then where
    the system looks. What is loaded stays loaded until the process ends.

    Args:
        names: as `edgecnn.runtimes.nvidia.elf.needed_libraries` gives them; the system's own are passed over.
        needed_by: what needs them, for the answer.
        folders: where to look first; None takes `wheel_folders()`.
        load: loads a name or path, or raises OSError.
    """
    if not sys.platform.startswith("linux"):
        return ()
    places = tuple(wheel_folders() if folders is None else folders)
    missing = []
    for name in names:
        if _SYSTEM.fullmatch(name):
            continue
        reason = _load(name, places, load)
        if reason is not None:
            deeper = _NOT_FOUND.match(reason)
            found = deeper["name"] if deeper else name
            by = needed_by if found == name else f"{name}, which {needed_by} needs"
            missing.append(MissingLibrary(name=found, needed_by=by, reason=reason))
    return tuple(missing)


def _load(name: str, folders: tuple[Path, ...], load: Load) -> str | None:
    """Return None when loaded, or else what the system's loader says."""
    reason = None
    for folder in folders:
        if (folder / name).is_file():
            try:
                load(str(folder / name))
                return None
            except OSError as error:
                reason = str(error)
    try:
        load(name)
        return None
    except OSError as error:
        return reason or str(error)
