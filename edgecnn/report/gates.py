"""Limits that fail a build: `latency>3%,memory>5%,energy>5%,top1<0.3`.

A limit is crossed where a quantity got worse by more than it and chance does not explain the difference: the 95% interval
of the ratio lies wholly on the worse side of 1. A subject that the new side lost altogether (a failure) crosses every limit,
an invalid measurement those of the quantities that rest on what makes it invalid, and a limit to which no row says anything
is crossed too: a gate that judged nothing has not held. Where it judged some subjects and could not judge others, one that is
invalid on both sides for example, those cross nothing and are named (`unjudged`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.report.rows import QUANTITIES, Row, beyond

EXAMPLE = "latency>3%,memory>5%,energy>5%,top1<0.3"

_LIMIT = re.compile(r"\s*([A-Za-z][\w-]*)\s*([<>])\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One limit.

    Attributes:
        quantity: name of what it limits.
        limit: share by which it may rise (0.03 for 3%), or percentage points by which an accuracy may fall.
        text: as it was written.
    """

    quantity: str
    limit: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A limit that was crossed.

    Attributes:
        gate: the limit as it was written.
        title: what crossed it; empty where nothing could be judged.
        quantity: name of what it limits.
        message: by how much, or why it could not be judged.
        judged: it got worse; else it could not be judged.
    """

    gate: str
    title: str
    quantity: str
    message: str
    judged: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A subject that limits say nothing about, while they judged others.

    Attributes:
        title: the subject.
        gates: those limits, in order.
        message: what stands in the way.
    """

    title: str
    gates: tuple[Gate, ...]
    message: str

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"not judged by {', '.join(gate.text for gate in self.gates)}: {self.title}: {self.message}"


def parse_limits(text: str) -> tuple[Gate, ...]:
    """Return the limits of a comma-separated list; "%" belongs to ratios, accuracies are in percentage points.

    Raises:
        BadInput: not a list of limits, or the wrong sign or unit for a quantity.
        UnknownName: no such quantity.
        Contradiction: two different limits for one quantity.
    """
    gates: dict[str, Gate] = {}
    for gate in map(_gate, text.split(",")):
        first = gates.setdefault(gate.quantity, gate)
        if first.limit != gate.limit:
            raise Contradiction(
                f"--fail-if has two limits for {gate.quantity}: {first.text} and {gate.text}", "give one of them"
            )
    return tuple(gates.values())


def check(rows: Sequence[Row], gates: Sequence[Gate]) -> tuple[Violation, ...]:
    """Return the limits that were crossed, by gate and then by row.

    Args:
        rows: of a comparison.
        gates: the limits.
    """
    return tuple(violation for gate in gates for violation in _violations(rows, gate))


def unjudged(rows: Sequence[Row], gates: Sequence[Gate]) -> tuple[Unjudged, ...]:
    """Return the subjects that pass a limit without having been judged by it, in the order of their rows.

    Args:
        rows: of a comparison.
        gates: the limits; one that judged nothing at all is crossed instead, see `check`.
    """
    silent: dict[str, tuple[dict[Gate, None], dict[str, None]]] = {}
    asked = [gate for gate in gates if any(_about(row, gate) and (row.broken or _judged(row)) for row in rows)]
    for row in rows:
        passed = [gate for gate in asked if _about(row, gate) and not row.broken and not _judged(row)]
        if passed:
            named, why = silent.setdefault(row.title, ({}, {}))
            named.update(dict.fromkeys(passed))
            why.update(dict.fromkeys(row.why))
    for title in dict.fromkeys(row.title for row in rows):
        for gate in asked:
            if not any(row.title == title and _about(row, gate) for row in rows):
                named, why = silent.setdefault(title, ({}, {}))
                named[gate] = None
                why[f"no record says anything about {gate.quantity}"] = None
    return tuple(
        Unjudged(title=title, gates=tuple(named), message="; ".join(why)) for title, (named, why) in silent.items()
    )


def change_text(row: Row) -> str:
    """Return how much a row changed, "8.3% slower (95% interval 7.1% to 9.4%)"; empty where it cannot be told."""
    quantity = QUANTITIES[row.quantity]
    if row.points is not None:
        return f"{row.points:+.2f} points"
    if row.ratio is None:
        return ""
    word = quantity.bad if row.ratio >= 1 else quantity.good
    interval = ""
    if row.interval is not None:
        low, high = (f"{100 * (end - 1):+.1f}%" for end in row.interval)
        interval = f" (95% interval {low} to {high})"
    return f"{abs(100 * (row.ratio - 1)):.1f}% {word}{interval}"


def _violations(rows: Sequence[Row], gate: Gate) -> list[Violation]:
    told = [row for row in rows if _about(row, gate)]
    found = [
        Violation(gate=gate.text, title=row.title, quantity=gate.quantity, message="; ".join(row.why), judged=False)
        for row in told
        if row.broken
    ]
    judged = [row for row in told if _judged(row)]
    found += [
        Violation(gate=gate.text, title=row.title, quantity=gate.quantity, message=change_text(row))
        for row in judged
        if beyond(row, gate.limit) > 0
    ]
    if not judged and not found:
        message = f"nothing to judge: {'; '.join(_why_nothing(rows, gate.quantity))}"
        found.append(Violation(gate=gate.text, title="", quantity=gate.quantity, message=message, judged=False))
    return found


def _about(row: Row, gate: Gate) -> bool:
    return row.quantity == gate.quantity or row.whole


def _judged(row: Row) -> bool:
    return row.verdict != "not comparable"


def _why_nothing(rows: Sequence[Row], quantity: str) -> Iterable[str]:
    """Return why no row could be judged: what the quantity's rows say, and what kept subjects from being compared at all."""
    own = dict.fromkeys(why for row in rows if row.quantity == quantity and not row.whole for why in row.why)
    lost = dict.fromkeys(why for row in rows if row.whole for why in row.why)
    if own or (lost and all(row.whole for row in rows)):
        return own | lost
    return (f"no record says anything about {quantity}" + (" of those that are compared" if lost else ""), *lost)


def _gate(part: str) -> Gate:
    match = _LIMIT.fullmatch(part)
    if match is None:
        raise BadInput("--fail-if", expected=f"limits such as {EXAMPLE}", got=repr(part))
    name, sign, number, percent = match.groups()
    if name not in QUANTITIES:
        raise UnknownName("quantity", name, QUANTITIES)
    quantity = QUANTITIES[name]
    wanted = ("<", "") if quantity.rises else (">", "%")
    value = _number(number)
    if (sign, percent) != wanted or value is None:
        meaning = "fell by so many percentage points" if quantity.rises else "rose by so many percent"
        raise BadInput(
            "--fail-if",
            f"it fails where {name} {meaning}",
            expected=f"{name}{wanted[0]}NUMBER{wanted[1]}",
            got=part.strip(),
        )
    return Gate(quantity=name, limit=value if quantity.rises else value / 100, text=part.strip())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
