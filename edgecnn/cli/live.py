"""The table on a terminal while models are measured, drawn between two blocks of runs and never during one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgecnn.bench import Progress
from edgecnn.cli.output import is_quiet, say
from edgecnn.units import duration_text

# Drawing takes milliseconds: so rarely that it costs a few percent of the time at most.
_EVERY_SECONDS = 0.25


@contextmanager
def live_progress(text: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far a measurement is while the block runs; yields the function that is told.

    Without a terminal there is no table, only the text once.

    Args:
        text: what is being done.
    """
    console = Console(stderr=True)
    noted: set[str] = set()

    def note(progress: Progress) -> None:
        if progress.note and progress.note not in noted:
            noted.add(progress.note)
            say(progress.note)

    if is_quiet() or not console.is_terminal:
        if not is_quiet():
            click.echo(text, err=True)
        yield note
        return
    last_ns = 0
    with Live(Text(text), console=console, auto_refresh=False, transient=True) as live:

        def draw(progress: Progress) -> None:
            nonlocal last_ns
            note(progress)
            now = time.perf_counter_ns()
            if now - last_ns >= _EVERY_SECONDS * 1e9:
                live.update(drawing(text, progress), refresh=True)
                last_ns = time.perf_counter_ns()

        yield draw


def drawing(text: str, progress: Progress) -> Group:
    """Return what is shown at one moment.

    Args:
        text: what is being done.
        progress: how far it is.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for column in ("model", "batch", "state", "runs", "median"):
        table.add_column(column, justify="left" if column in ("model", "state") else "right", no_wrap=True)
    for one in progress.standings:
        cells = (one.file, str(one.batch), one.state, f"{one.runs:,}", duration_text(one.median_ns))
        table.add_row(*(Text(cell) for cell in cells))
    share = f", {progress.done} of {progress.total} blocks" if progress.total else ""
    return Group(Text(f"{text}: {progress.elapsed_seconds:.0f} s{share}"), table)
