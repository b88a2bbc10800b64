"""The list of networks as a table that fits its terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console

from edgecnn.cli.output import print_table
from edgecnn.units import bytes_text, count_text, millions_text, percent_text
from edgecnn.zoo.pages.summary import Summary

_COLUMNS = (
    "network",
    "family",
    "year",
    "input",
    "params",
    "MACs (M)",
    "activation",
    "top-1 %",
    "top-5 %",
    "source",
    "bundled",
    "its top-1 %",
)
_LEFT = ("network", "family", "source", "bundled")

# What a narrow terminal goes without, in this order.
_DROPPED = ("source", "family", "year", "top-5 %", "bundled", "activation", "input")

# Two of padding and one between two columns.
_BESIDE = 3


def print_list(rows: Sequence[Summary]) -> None:
    """Write the list to standard output; a terminal that is too narrow gets fewer columns and is told so."""
    sources = {row.accuracy_source: "" for row in rows if _has_accuracy(row) and row.accuracy_source}
    marks = {source: f"[{number}]" for number, source in enumerate(sources, 1)}
    cells = [_cells(row, marks) for row in rows]
    shown = fitting(cells, Console().width if sys.stdout.isatty() else None)
    hidden = [name for name in _COLUMNS if name not in shown]
    notes = [
        "top-1, top-5: published, for the paper's form unless the source column names another",
        "bundled: the form that comes with trained weights, and its top-1 through the exported file",
    ]
    if "source" in shown:
        notes += [f"{mark} {source}" for source, mark in marks.items()]
    if hidden:
        notes.append(f"not shown for lack of width: {', '.join(hidden)}")
    kept = [[cell for name, cell in zip(_COLUMNS, row, strict=True) if name in shown] for row in cells]
    print_table("zoo", shown, kept, left=_LEFT, caption="\n".join(notes))


def fitting(cells: Sequence[Sequence[str]], width: int | None) -> tuple[str, ...]:
    """Return the columns that fit into a width in characters, all of them for None; those that matter least go first."""
    widths = {
        name: _BESIDE + max(len(name), *(len(row[place]) for row in cells), 0) for place, name in enumerate(_COLUMNS)
    }
    dropped: set[str] = set()
    for name in _DROPPED if width is not None else ():
        if sum(size for column, size in widths.items() if column not in dropped) <= (width or 0):
            break
        dropped.add(name)
    return tuple(name for name in _COLUMNS if name not in dropped)


def _has_accuracy(row: Summary) -> bool:
    return row.top1 is not None or row.top5 is not None


def _cells(row: Summary, marks: dict[str, str]) -> tuple[str, ...]:
    other = row.accuracy_form if _has_accuracy(row) and row.accuracy_form != row.network else None
    source = " ".join(filter(None, (marks.get(row.accuracy_source, "") if _has_accuracy(row) else "", other)))
    return (
        row.network,
        row.family,
        str(row.year),
        f"{row.input_size}x{row.input_size}x{row.channels}",
        count_text(row.params),
        millions_text(row.macs),
        bytes_text(row.activation_bytes),
        percent_text(row.top1),
        percent_text(row.top5),
        source or "-",
        row.bundled or "-",
        percent_text(row.bundled_top1),
    )
