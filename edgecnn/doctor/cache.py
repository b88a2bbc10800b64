"""What the cache of optimised models and built engines takes, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecnn.doctor.finding import Finding
from edgecnn.errors import UnavailableError
from edgecnn.runtimes.cacheroom import usage
from edgecnn.units import bytes_text


def cache(folder: Path | None = None) -> Iterator[Finding]:
    """Yield what is to be said of the cache; nothing where none was needed yet.

    Args:
        folder: of it; None is the default.
    """
    try:
        found = usage(folder)
    except UnavailableError as error:
        yield Finding(topic="machine", name="cache", health="note", message=error.message, fix=error.hint)
        return
    except RuntimeError:  # there is no home folder
        return
    if found.entries:
        size, limit = bytes_text(found.size_bytes), bytes_text(found.limit_bytes)
        text = f"{size} of at most {limit} in {found.folder}; edgecnn cache --clear empties it"
        yield Finding(topic="machine", name="cache", health="ok", message=text)
