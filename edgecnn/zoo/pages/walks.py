"""Layer tables of forms, each walked once; the one place where the pages need torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecnn.errors import MissingDependency
from edgecnn.zoo.network import Form, Totals
from edgecnn.zoo.sizes import known_sizes

if TYPE_CHECKING:
    from edgecnn.zoo.layers import Layer


class Walks:
    """The layer tables of forms, found when they are asked for."""

    def __init__(self) -> None:
        self._found: list[tuple[Form, tuple[Layer, ...]]] = []

    def layers(self, form: Form) -> tuple[Layer, ...]:
        """Return the layer table of a form.

        Raises:
            MissingDependency: torch is not installed.
            UsageError: the form cannot be built.
        """
        for known, layers in self._found:
            if known == form:
                return layers
        try:
            from edgecnn.zoo.layers import layers_of  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "torch":
                raise
            raise MissingDependency("torch", "export", f"the layers of {form.title}") from None
        self._found.append((form, layers_of(form)))
        return self._found[-1][1]

    def sizes(self, form: Form) -> Totals:
        """Return the totals of a form, from the table of sizes where that has it.

        Raises:
            MissingDependency: the table has not, and torch is not installed.
        """
        known = known_sizes(form)
        if known is not None:
            return known
        layers = self.layers(form)
        from edgecnn.zoo.layers import totals  # noqa: PLC0415

        return totals(layers)
