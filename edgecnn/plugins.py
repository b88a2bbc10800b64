"""Named things that can be added from outside: built-ins by import path, third parties by entry point.

A plug-in that cannot be imported is listed with its reason and raises when it is asked for; it is never hidden.
Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from edgecnn.errors import UnavailableError, UnknownName


class Plugins:
    """The names of one kind and the objects behind them.

    Args:
        kind: what a name stands for in messages, "backend" for example.
        group: entry-point group that third parties add to, "edgecnn.runtimes" for example.
        builtins: name -> "module:attribute".
        aliases: short name -> name.
    """

    def __init__(
        self, kind: str, group: str, builtins: Mapping[str, str], aliases: Mapping[str, str] | None = None
    ) -> None:
        self._kind = kind
        self._group = group
        self._builtins = dict(builtins)
        self._aliases = dict(aliases or {})

    def targets(self) -> dict[str, str]:
        """Return name -> "module:attribute"; a built-in wins over an entry point of the same name."""
        # Imported here because it costs more than the rest of an app's start.
        from importlib import metadata  # noqa: PLC0415

        points = metadata.entry_points(group=self._group)
        found = {point.name: point.value.partition("[")[0].strip() for point in points}
        return {**self._builtins, **{name: found[name] for name in sorted(found) if name not in self._builtins}}

    def names(self) -> tuple[str, ...]:
        """Return all names, built-ins first."""
        return tuple(self.targets())

    def resolve(self, name: str) -> str:
        """Return the name behind an alias, or the name itself.

        Raises:
            UnknownName: neither a name nor an alias; suggests the nearest.
        """
        name = self._aliases.get(name, name)
        if name not in self._builtins and name not in self.targets():
            raise UnknownName(self._kind, name, self.names(), self._aliases)
        return name

    def load(self, name: str) -> Any:
        """Return the object behind a name or alias, imported now.

        Raises:
            UnknownName: neither a name nor an alias.
            UnavailableError: the plug-in is there and cannot be imported; the reason is in the message.
        """
        name = self.resolve(name)
        target = self._builtins.get(name) or self.targets()[name]
        module, _, attribute = target.partition(":")
        try:
            loaded: Any = importlib.import_module(module)
            for part in attribute.split("."):
                loaded = getattr(loaded, part)
        except (Exception, SystemExit) as error:
            raise UnavailableError(
                f"{self._kind} {name} ({target}) cannot be imported: {type(error).__name__}: {error}",
                "reinstall or remove the package that provides it",
            ) from error
        return loaded

    def broken(self) -> dict[str, str]:
        """Return name -> reason of the plug-ins that cannot be imported."""
        reasons = {}
        for name in self.names():
            try:
                self.load(name)
            except UnavailableError as error:
                reasons[name] = error.message
        return reasons
