"""Names of a package that are imported when they are first asked for (PEP 562): its small parts stay cheap to import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return what a package assigns to its `__getattr__`.

    Args:
        package: its `__name__`.
        homes: module of each name.

    Raises:
        ValueError: a name is that of its module, which would take its place in the package once it is imported.
    """
    clashing = sorted(name for name, home in homes.items() if home == f"{package}.{name}")
    if clashing:
        raise ValueError(f"names of {package} that are modules of it: {', '.join(clashing)}")

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
