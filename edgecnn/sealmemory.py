"""Remembering that a file's seal fitted, for apps that keep optimised models: nothing else reads all of the file then."""

from __future__ import annotations

from pathlib import Path

from edgecnn.runtimes.tickets import Ticket, identity, is_settled


class SealMemory:
    """Whether one file was found whole before, and has stayed as it was.

    Args:
        path: the file; what it is like now is what is compared, and remembered.
        folder: of the cache; None is `edgecnn.runtimes.cache.default_folder()`.
    """

    def __init__(self, path: Path, folder: Path | None) -> None:
        if folder is None:
            from edgecnn.runtimes.cache import default_folder  # noqa: PLC0415 (those who name a folder do not need it)

            folder = default_folder()
        self._path = path
        self._found = identity(path)
        self._ticket = Ticket(folder, ["seal", str(path.absolute())])

    def fits(self) -> bool:
        """Return whether the seal fitted, and nothing has changed the file since."""
        kept = self._ticket.read()
        return kept is not None and self._found is not None and kept.get("identity") == self._found

    def keep(self) -> None:
        """Remember that the seal fits, unless the file is so new, or was changed meanwhile, that it may be another."""
        if self._found is not None and is_settled(self._found) and identity(self._path) == self._found:
            self._ticket.write({"identity": self._found})
