"""Options of a network, and of its training: their allowed values, in words and as a check."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgecnn.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way in which a network can be varied, beside input size, channels and classes.

    Attributes:
        name: keyword of the builder; "width" goes first in the name of a variant.
        default: value of the plain form; its type is the option's type.
        choices: the allowed values; empty when a range is allowed.
        low: least allowed number, None without one.
        high: greatest allowed number, None without one.
        label: how a value is written in the name of a variant, "g{}" for example.
        help: what it changes, one line.
    """

    name: str
    default: str | int | float | bool
    choices: tuple[str | int | float | bool, ...] = ()
    low: float | None = None
    high: float | None = None
    label: str = "{}"
    help: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "any text"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        limits = [f"at least {self.low:g}"] if self.low is not None else []
        limits += [f"at most {self.high:g}"] if self.high is not None else []
        return " ".join([kind, " and ".join(limits)]).strip()

    def read(self, value: object) -> str | int | float | bool:
        """Return the value in the option's type; text from a command line is converted.

        Raises:
            BadInput: not one of the allowed values, which are named.
        """
        try:
            typed = self._convert(value)
        except (TypeError, ValueError, KeyError, OverflowError):
            raise self._refusal(value) from None
        if self.choices and typed not in self.choices:
            raise self._refusal(value)
        if isinstance(typed, (int, float)) and not isinstance(typed, bool) and not self._in_range(typed):
            raise self._refusal(value)
        return typed

    def written(self, value: object) -> str:
        """Return the value as it stands in the name of a variant."""
        return self.label.format(value)

    def _convert(self, value: object) -> str | int | float | bool:
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if isinstance(self.default, str):
            return str(value)
        if isinstance(value, bool):
            raise TypeError("a truth value is no number")
        number = float(value)  # type: ignore[arg-type]
        if isinstance(self.default, float):
            return number
        if number != int(number):
            raise ValueError("not whole")
        return int(number)

    def _in_range(self, number: float) -> bool:
        if not math.isfinite(number):
            return False
        return (self.low is None or number >= self.low) and (self.high is None or number <= self.high)

    def _refusal(self, value: object) -> BadInput:
        return BadInput(self.name, expected=self.allowed, got=str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOption:
    """A keyword of a builder that acts in training only: a number of an interval, or a switch.

    Attributes:
        help: what it does, one line.
        switch: it is true or false, and no number.
        low: least allowed number, None without one.
        high: greatest allowed number, None without one.
        below: number that every allowed one lies below, None without one.
    """

    help: str
    switch: bool = False
    low: float | None = None
    high: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.low, self.high, self.below) if bound is not None]
        if self.switch and bounds:
            raise BadInput("switch", expected="no low, high or below beside it", got=", ".join(map(str, bounds)))
        if not self.switch and (self.low is None or (self.high is None) == (self.below is None)):
            raise BadInput("interval", expected="low, and high or below", got=", ".join(map(str, bounds)) or "none")

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.switch:
            return "true or false"
        upper = f"at most {self.high:g}" if self.high is not None else f"below {self.below:g}"
        return f"a number at least {self.low:g} and {upper}"

    def read(self, name: str, value: object) -> float | bool:
        """Return the value; whole numbers become floats, and nothing else is converted.

        Args:
            name: of the option, for the message.
            value: as it was given.

        Raises:
            BadInput: not one of the allowed values, which are named.
        """
        if self.switch and isinstance(value, bool):
            return value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.switch or not is_number or not self._in_range(value):  # type: ignore[arg-type]
            got = str(value).lower() if isinstance(value, bool) else repr(value)
            raise BadInput(name, expected=self.allowed, got=got)
        return float(value)  # type: ignore[arg-type]

    def _in_range(self, number: float) -> bool:
        # A comparison with what is not a number is false.
        lows = (self.low is None or number >= self.low, self.high is None or number <= self.high)
        return all(lows) and (self.below is None or number < self.below)
