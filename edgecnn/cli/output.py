"""What the command line prints: tables and JSON to standard output, progress to standard error."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgecnn.jsonform import to_json

Advance = Callable[[int, int, str], None]
"""Called with what is done, what there is to do (0 when unknown), and a text."""

# Beyond what any table has: of one that is wider, rich would squeeze columns to nothing.
_WIDEST = 1_000_000

BESIDE = 3
"""Characters between two columns: two of padding and one between."""

# A list of plain numbers, which goes on one line: a measurement has thousands of samples.
_NUMBERS = re.compile(r"\[\s+(-?[\d.eE+-]+(?:,\s+-?[\d.eE+-]+)*)\s+\]")


def print_json(data: Any) -> None:
    """Write data, dataclasses included, as indented JSON to standard output."""
    text = json.dumps(to_json(data), indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(_NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = (), caption: str = ""
) -> None:
    """Write a table to standard output; columns named in `left` are flush left, all others flush right.

    A table is never folded into a narrower terminal or a pipe: figures that are broken over lines cannot be read.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    console.width = max(console.width, Console(width=_WIDEST).measure(table).maximum)
    console.print(Text(title, style="bold"))
    console.print()
    with console.capture() as drawn:
        console.print(table)
    # What fills up the last column is of no use, and a narrow terminal would fold it.
    for line in (*(one.rstrip() for one in drawn.get().splitlines()), *caption.splitlines()):
        click.echo(line)


def folded(line: str, width: int | None) -> list[str]:
    """Return a line as lines of at most so many characters, broken between words; None is any width."""
    if width is None:
        return [line]
    return textwrap.wrap(
        line, max(width, 3), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    ) or [""]


def table_width() -> int | None:
    """Return how many characters a line may have: the terminal's, else those of COLUMNS; None where nothing limits it."""
    if sys.stdout.isatty():
        return Console().width
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) > 0 else None


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, *, dropped: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns that fit into a width.

    Args:
        columns: heads of the columns, of one line or more.
        rows: cells, as many a row as there are columns.
        width: in characters; None for all columns.
        dropped: what a narrow table goes without, in this order; the others are always there.
    """
    widths = {
        name: BESIDE + max(*map(len, name.split("\n")), *(len(row[place]) for row in rows), 0)
        for place, name in enumerate(columns)
    }
    gone: set[str] = set()
    for name in dropped if width is not None else ():
        if sum(size for column, size in widths.items() if column not in gone) - BESIDE <= (width or 0):
            break
        gone.add(name)
    return tuple(name for name in columns if name not in gone)


def shown_cells(
    columns: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Return the cells of the columns that are shown."""
    return tuple(tuple(cell for name, cell in zip(columns, row, strict=True) if name in shown) for row in rows)


def hidden_note(columns: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Return the line that names the columns which are not shown; no line where all are."""
    hidden = [" ".join(name.split()) for name in columns if name not in shown]
    return [f"not shown for lack of width: {'; '.join(hidden)}"] if hidden else []


def say(line: str) -> None:
    """Write a line for the user to standard error, unless --quiet was given."""
    if not is_quiet():
        click.echo(line, err=True)


def is_quiet() -> bool:
    """Tell whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().obj and context.find_root().obj.get("quiet"))


@contextmanager
def progress(text: str, *, still: bool = False) -> Iterator[Advance]:
    """Show a progress bar on standard error while the block runs; yields the function that moves it.

    Without a terminal there is no bar, only the text once.

    Args:
        text: what is being done.
        still: draw only when the bar moves, so that drawing does not disturb a measurement.
    """
    console = Console(stderr=True)
    if is_quiet():
        yield lambda done, total, note: None
        return
    if not console.is_terminal:
        click.echo(text, err=True)
        yield lambda done, total, note: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        auto_refresh=not still,
    )
    with bar:
        task = bar.add_task(text, total=None, note="")

        def advance(done: int, total: int, note: str) -> None:
            bar.update(task, completed=done, total=total or None, note=note)
            if still:
                bar.refresh()

        yield advance
