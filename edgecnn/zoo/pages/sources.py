"""What a page calls its sources: rows of published.csv say "paper Table 2", a reader wants to know of which paper."""

from __future__ import annotations

import re
from dataclasses import replace

from edgecnn.zoo.network import Paper, Published

# A row says "same" for the source that it names before.
_SAME = "same"

# The network's own paper at the start of a text, with what follows: nothing, a table, or what it says.
_OWN = re.compile(r"\(?paper\b\)?,?\s*(?P<rest>.*)")

_COUNTED = (
    (re.compile(r"derived: layer by layer(?: \(method [^)]*\))?"), "counted layer by layer"),
    (re.compile(r"derived: "), "counted layer by layer: "),
    (re.compile(r"derived$"), "counted layer by layer"),
    (re.compile(r"derived\b"), "counted"),
    (re.compile(r"osmr\b(?!/)"), "osmr/imgclsmob"),
)

# Not the first half of an arXiv number.
_YEAR = re.compile(r"\b(?:19|20)\d\d\b(?!\.)")

# How accuracy was measured; that the network's paper did it is what the source says.
_PROTOCOL = re.compile(r"paper,? (?!/)")


def citation(paper: Paper) -> str:
    """Return a paper in one line; its year once, and as that of the first publication where the venue has a later one."""
    text = f'{paper.authors}, "{paper.title}", {paper.venue}'
    years = _YEAR.findall(paper.venue)
    if str(paper.year) in years:
        return text
    return f"{text}, first published {paper.year}" if years else f"{text}, {paper.year}"


def source_text(source: str, paper: Paper) -> str:
    """Return a source of a network with that paper as a reader can look it up.

    Args:
        source: as published.csv has it, several with "; " between them.
        paper: what the row means by "paper".
    """
    parts = (_named(part, f"{paper.authors} {paper.year}") for part in source.split("; "))
    return "; ".join(dict.fromkeys(filter(None, parts)))


def with_sources(row: Published, paper: Paper) -> Published:
    """Return a row of a network with that paper, its sources named in full."""
    macs = row.params_source if row.macs_source == _SAME else row.macs_source
    accuracy = macs if row.accuracy_source == _SAME else row.accuracy_source
    return replace(
        row,
        params_source=source_text(row.params_source, paper),
        macs_source=source_text(macs, paper),
        accuracy_source=source_text(accuracy, paper),
        other_source=source_text(row.other_source, paper),
        protocol=_PROTOCOL.sub("", row.protocol, count=1) if _PROTOCOL.match(row.protocol) else row.protocol,
    )


def _named(part: str, paper: str) -> str:
    for pattern, text in _COUNTED:
        if pattern.match(part):
            return pattern.sub(text, part, count=1)
    part = re.sub(r"\bTable(s?) (?=\d)", r"table\1 ", part)
    own = _OWN.fullmatch(part)
    if own is None:
        return part
    rest = own["rest"]
    if rest.startswith(":"):
        return f"{paper}{rest}"
    return f"{paper}, {rest}" if rest else paper
