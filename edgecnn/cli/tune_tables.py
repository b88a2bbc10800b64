"""The tables of `edgecnn tune`."""

from __future__ import annotations

from collections.abc import Sequence

from edgecnn.cli.output import fitting, hidden_note, print_table, shown_cells, table_width
from edgecnn.tune.choice import Point
from edgecnn.tune.run import Outcome
from edgecnn.tune.task import NOT_ASKED
from edgecnn.units import bytes_text, count_of, duration_text, percent_text

COLUMNS = (
    "",
    "file",
    "backend",
    "preset",
    "threads",
    "batch",
    "latency",
    "95% interval",
    "memory",
    "top-1 %",
    "drop",
    "size",
    "energy",
    "verdict",
)

_LEFT = ("", "file", "backend", "preset", "verdict")
_DROPPED = ("95% interval", "drop", "batch", "threads")
_MOST_REASONS = 6


def show(outcomes: Sequence[Outcome]) -> None:
    """Write the Pareto front of each tuning, what was chosen, and what was not tried."""
    for outcome in outcomes:
        if outcome.points:
            rows = [cells(point, chosen=_same(point, outcome.chosen)) for point in shown_points(outcome)]
            columns = fitting(COLUMNS, rows, table_width(), dropped=_DROPPED)
            print_table(
                title(outcome),
                columns,
                [shown_cells(COLUMNS, [row], columns)[0] for row in rows],
                left=_LEFT,
                caption="\n".join([*captions(outcome), *hidden_note(COLUMNS, columns)]),
            )


def shown_points(outcome: Outcome) -> tuple[Point, ...]:
    """Return the front, and with it what was chosen or what comes closest."""
    extra = outcome.chosen or (outcome.unreachable.closest if outcome.unreachable else None)
    missing = extra is not None and not any(_same(point, extra) for point in outcome.front)
    points = (*outcome.front, extra) if extra is not None and missing else outcome.front
    return tuple(sorted(points, key=lambda point: point.figures.latency_ns))


def title(outcome: Outcome) -> str:
    """Return the head of a table."""
    return (
        f"{outcome.model}: what no other beats, of {count_of(len(outcome.points), 'candidate')} measured "
        f"in {outcome.elapsed_seconds:.0f} s"
    )


def captions(outcome: Outcome) -> list[str]:
    """Return the lines below a table."""
    lines = ["memory: the greatest of the whole process, with interpreter and engine"]
    if any(not point.confirmed for point in shown_points(outcome)):
        lines.append("~ screened with a few runs alone; the others were measured in turn")
    if outcome.accuracy_reason:
        lines.append(f"accuracy n/a: {outcome.accuracy_reason}")
    if outcome.energy_reason and outcome.energy_reason != NOT_ASKED:
        lines.append(f"energy null: {outcome.energy_reason}")
    if outcome.chosen is not None:
        lines.append(f"> {outcome.chosen.candidate.text}: {outcome.why}")
        lines += [f"  {one.severity}: {one.message}" for one in outcome.chosen.figures.reasons]
    if outcome.deployment is not None:
        lines.append(f"written: {outcome.deployment}")
    lines += [f"left out: {one.what}: {one.reason}" for one in outcome.left_out[:_MOST_REASONS]]
    if len(outcome.left_out) > _MOST_REASONS:
        lines.append(f"left out: {len(outcome.left_out) - _MOST_REASONS} more, see --json")
    return lines


def warnings(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the lines that say of each choice that was written why its measurement cannot be relied on, and what to do."""
    lines = []
    for outcome in outcomes:
        if outcome.chosen is None or outcome.deployment is None or outcome.chosen.figures.verdict in (None, "valid"):
            continue
        figures = outcome.chosen.figures
        lines.append(f"warning: {outcome.model}: the measurement that the choice rests on is {figures.verdict}:")
        lines += [f"  {'; '.join(filter(None, (one.message, one.advice)))}" for one in figures.reasons]
        lines.append(f"  {outcome.deployment} was written all the same: tune again then, or refuse it with --strict")
    return lines


def cells(point: Point, *, chosen: bool) -> tuple[str, ...]:
    """Return a row of `COLUMNS`."""
    one, figures = point.candidate, point.figures
    interval = figures.latency_ci95_ns
    return (
        ">" if chosen else " " if point.confirmed else "~",
        one.form.stem,
        one.backend,
        one.preset,
        "-" if one.threads is None else str(one.threads),
        str(one.batch),
        duration_text(figures.latency_ns),
        f"{duration_text(interval[0])} to {duration_text(interval[1])}" if interval else "-",
        bytes_text(figures.memory_bytes),
        percent_text(figures.accuracy),
        "-" if figures.drop_points is None else f"{figures.drop_points:.2f}",
        bytes_text(figures.size_bytes),
        "-" if figures.energy_mj is None else f"{figures.energy_mj:.3g} mJ",
        figures.verdict or "-",
    )


def _same(point: Point, other: Point | None) -> bool:
    return other is not None and point.candidate == other.candidate


__all__ = ["COLUMNS", "captions", "cells", "show", "shown_points", "title", "warnings"]
