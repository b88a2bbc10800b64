"""Warnings of one package kept quiet for a while, by several threads at once.

`warnings.catch_warnings` exchanges the list of all filters: where two threads overlap, the one that ends last leaves the
other's list behind, and an app never sees a warning again. This adds one filter for one package with the first thread that
enters, and takes it away with the last that leaves; what other packages warn of is seen meanwhile.
"""

from __future__ import annotations

import re
import threading
import warnings
from contextlib import suppress
from typing import Any, cast


class Quiet:
    """Keeps a package's warnings quiet inside its `with` blocks, which may be many at a time.

    Args:
        package: import name; its modules are meant as well.
    """

    def __init__(self, package: str) -> None:
        self._filter = ("ignore", None, Warning, re.compile(rf"(?:{re.escape(package)})(?:\.|$)"), 0)
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                _filters().insert(0, self._filter)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            # Another thread that copied the list meanwhile may have put the copy in its place.
            if self._inside == 0:
                with suppress(ValueError):
                    _filters().remove(self._filter)


def _filters() -> list[Any]:
    return cast("list[Any]", warnings.filters)
