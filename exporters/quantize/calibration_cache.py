"""Ranges that were observed before, found again by the content of everything that they depend on.

One JSON file per observation lies in a cache folder. Its name is a SHA-256 of the graph with its weights, of the images, and of
how they are prepared and evaluated; a file that cannot be read counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgecnn
from edgecnn.errors import UnavailableError
from edgecnn.exporters.quantize.ranges import Range
from edgecnn.files import cache_root, replacing

_FORMAT = "edgecnn.ranges/1"

Note = Callable[[str], None]


def ranges_folder() -> Path:
    """Return the folder of cached ranges: edgecnn/ranges in $XDG_CACHE_HOME, or else in ~/.cache."""
    return cache_root() / "ranges"


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTable:
    """What one method says of the tensors of a graph.

    Attributes:
        ranges: of each tensor, by name.
        constant: names of tensors that had one value all over; their range is exact.
    """

    ranges: Mapping[str, Range]
    constant: tuple[str, ...] = ()


class RangeCache:
    """Ranges by key, one file each.

    Args:
        folder: where they lie; made where it is missing.
        on_note: called with one line where a file is damaged or cannot be written; neither stops the work.
    """

    def __init__(self, folder: Path, on_note: Note = lambda line: None) -> None:
        self._folder = folder
        self._note = on_note

    def find(self, key: str) -> RangeTable | None:
        """Return the table of that key, None where there is none that can be read."""
        path = self._path(key)
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._note(f"cached ranges {path} cannot be read ({error}): calibrating again")
            return None
        found = _parse(text, key)
        if found is None:
            self._note(f"cached ranges {path} are damaged: calibrating again")
        return found

    def keep(self, key: str, table: RangeTable) -> None:
        """Store a table under a key, in one step."""
        document = {
            "format": _FORMAT,
            "key": key,
            "ranges": {name: [found.low, found.high] for name, found in table.ranges.items()},
            "constant": list(table.constant),
        }
        try:
            with replacing(self._path(key)) as temporary:
                temporary.write_text(json.dumps(document), "utf-8")
        except UnavailableError as error:
            self._note(f"ranges are not cached: {error.message}")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def cache_key(*, graph: bytes, images: str, **options: Any) -> str:
    """Return the key of an observation, hexadecimal.

    Args:
        graph: the serialised graph as it runs, weights and observed tensors included.
        images: digest of the images.
        options: everything else that ranges depend on; values with a JSON form.
    """
    parts = {
        "version": edgecnn.__version__,
        "format": _FORMAT,
        "graph": hashlib.sha256(graph).hexdigest(),
        "images": images,
        **options,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _parse(text: str, key: str) -> RangeTable | None:
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT or document["key"] != key:
            return None
        found = {str(name): Range(float(low), float(high)) for name, (low, high) in document["ranges"].items()}
        constant = tuple(str(name) for name in document["constant"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    good = all(
        math.isfinite(one.low) and math.isfinite(one.high) and one.low <= 0 <= one.high for one in found.values()
    )
    return RangeTable(ranges=found, constant=constant) if good and found else None
