"""Installed packages of ONNX Runtime, the engine and what is added to it, found by the names of their folders."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

PREFIX = "onnxruntime"
"""How the names of its distributions begin, and the name of its folder."""

# How the folders end that installers keep about packages.
_ABOUT = (".dist_info", ".egg_info")


def engine_folders() -> Iterator[importlib.metadata.Distribution]:
    """Yield the installed distributions of this family, in the order of the path.

    A folder says by its name what it is about (PyPA, "Recording installed projects"). What the others say about themselves
    need not be read: there may be hundreds, and this is asked whenever a session is opened.
    """
    for folder in dict.fromkeys(sys.path):
        try:
            found = sorted(Path(folder).iterdir())
        except OSError:  # not there, or an archive, out of which no library is loaded
            continue
        for path in found:
            name = path.name.lower().replace("-", "_")
            # A source tree that was built in place has no version in its folder's name.
            if name.endswith(_ABOUT) and name.startswith((f"{PREFIX}_", f"{PREFIX}.egg_info")):
                yield importlib.metadata.Distribution.at(path)


def engine_distributions() -> tuple[str, ...]:
    """Return the installed distributions that own the folder onnxruntime, sorted; more than one is a damaged install.

    They all unpack into that folder: the one installed last wins, and removing either leaves a module without content.
    """
    names = set()
    for distribution in engine_folders():
        if any(file.parts[:1] == (PREFIX,) for file in distribution.files or ()):
            names.add(distribution.name or "")
    return tuple(sorted(names))
