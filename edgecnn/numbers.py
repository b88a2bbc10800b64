"""Whole numbers that come from outside."""

from __future__ import annotations

import operator

from edgecnn.errors import BadInput


def check_whole(name: str, value: object, *, low: int = 1, high: int | None = None) -> None:
    """Return if a value is a whole number in a range; numpy's integers are, booleans and floats are not.

    Raises:
        BadInput: it is not.
    """
    wanted = f"{low} to {high}" if high is not None else f"at least {low}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None:
        raise BadInput(name, expected=f"a whole number, {wanted}", got=repr(value)[:40])
    if number < low or (high is not None and number > high):
        raise BadInput(name, expected=wanted, got=str(number))
