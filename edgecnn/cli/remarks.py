"""Lines below a table: what is to be said about each row, once for all rows that it is true of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 120
"""Beyond this a line is taken apart where nothing limits it; its parts are then as long as they are."""

# A number that stands by itself: not the digits of a name or a path.
_NUMBER = re.compile(r"(?<![\w.,/-])\d[\d,]*(?:\.\d+)?")

_INDENT = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One thing to say.

    Attributes:
        text: what it is.
        advice: what to do about it, empty for nothing.
    """

    text: str
    advice: str = ""


def remark_lines(said: Sequence[tuple[str, Sequence[Remark]]], width: int | None = None) -> list[str]:
    """Return the lines that say it; what differs in numbers alone is said once, with the least and the greatest.

    Args:
        said: of each row its name and what is to be said about it.
        width: of a line, None where nothing limits it.
    """
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, remarks in said:
        for one in remarks:
            found.setdefault((_NUMBER.sub("0", one.text), one.advice), []).append((name, one.text))
    lines = []
    for (_, advice), rows in found.items():
        names = list(dict.fromkeys(name for name, _ in rows))
        whose = f"all {len(said)}" if len(names) == len(said) > 1 else "; ".join(names)
        lines += _lines(whose, _together([text for _, text in rows]), advice, width)
    return lines


def _together(texts: Sequence[str]) -> str:
    """Return one text for those that differ in numbers alone: where they do, "0.92 to 1.31"."""
    columns = iter(list(zip(*(_NUMBER.findall(text) for text in texts), strict=True)))

    def spread(match: re.Match[str]) -> str:
        numbers = sorted(set(next(columns)), key=lambda number: float(number.replace(",", "")))
        return numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

    return _NUMBER.sub(spread, texts[0])


def _lines(whose: str, text: str, advice: str, width: int | None) -> list[str]:
    whole = f"{whose}: {text}" + (f"; {advice}" if advice else "")
    if len(whole) <= (width or WIDTH):
        return [whole]
    # Each part on a line of its own; commands are not broken at their dashes.
    parts = [*text.split("; "), *([advice] if advice else [])]
    return [f"{whose}:", *(line for part in parts for line in _folded(part, width))]


def _folded(part: str, width: int | None) -> list[str]:
    if width is None:
        return [_INDENT + part]
    return textwrap.wrap(
        part,
        max(width, 2 * len(_INDENT) + 1),
        initial_indent=_INDENT,
        subsequent_indent=2 * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
