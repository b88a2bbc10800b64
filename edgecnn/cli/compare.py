"""`edgecnn compare`: old results against new ones, with limits that fail a build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import click

from edgecnn.artifacts import load_artifact
from edgecnn.cli.options import json_option
from edgecnn.cli.output import (
    fitting,
    folded,
    hidden_note,
    print_json,
    print_table,
    say,
    shown_cells,
    table_width,
)
from edgecnn.errors import BadInput, RegressionError, ResultsError
from edgecnn.files import replacing
from edgecnn.report.compare import compare as compare_records
from edgecnn.report.comparepages import COLUMNS, LEFT, across_hint, junit, markdown, reasons, table_rows
from edgecnn.report.gates import EXAMPLE, Violation, check, parse_limits, unjudged
from edgecnn.report.rows import Row
from edgecnn.results import Record
from edgecnn.resultsfiles import find_results, newer_note, read_all
from edgecnn.units import count_of

# What the error line says of limits that are crossed: so many reasons, and characters of each.
_TOLD = 3
_LONGEST = 120

_DROPPED = ("95% interval", "old", "new")


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-if",
    "limits",
    multiple=True,
    metavar="LIMITS",
    help=f"Exit with 9 where one is crossed: {EXAMPLE}; given again, all of them. What could not be judged is said.",
)
@click.option(
    "--across", metavar="FIELDS", help="Fields that may differ, runtime.engine_version,device.kernel for example."
)
@click.option(
    "--models",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="OLD NEW",
    help="Only the records of these two model files, known by content; OLD and NEW may then be one results file.",
)
@json_option
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write the comparison for a pull request."
)
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path), help="Write it as JUnit XML for a build server."
)
def compare(
    old: Path,
    new: Path,
    limits: tuple[str, ...],
    across: str | None,
    models: tuple[Path, Path] | None,
    as_json: bool,
    markdown_file: Path | None,
    junit_file: Path | None,
) -> None:
    """Compare the results in OLD (a file or a folder) with those in NEW, like with like.

    A row tells by how much a quantity changed and whether chance explains it; what differs in machine, engine or plan is
    not compared, and the field is named.

    \b
    Example:
      edgecnn compare old.jsonl new.jsonl
      edgecnn compare results.jsonl results.jsonl --models old/net.onnx new/net.onnx
      edgecnn compare main.jsonl branch.jsonl --fail-if 'latency>3%,memory>5%,top1<0.3' --markdown summary.md
    """
    gates = parse_limits(",".join(limits)) if limits else ()
    fields = tuple(field.strip() for field in across.split(",")) if across is not None else ()
    files = models or (None, None)
    rows = compare_records(_records(old, files[0]), _records(new, files[1]), across=fields)
    violations, silent = check(rows, gates), unjudged(rows, gates)
    pages = (("--markdown", markdown_file, markdown), ("--junit", junit_file, junit))
    for option, path, page in pages:
        if path is not None:
            text = page(rows, violations, silent)
            with replacing(path, option=option) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"rows": rows, "violations": violations, "unjudged": silent})
    else:
        _show(rows)
    for one in silent:
        say(one.sentence)
    if violations:
        raise RegressionError(_crossed(violations), "edgecnn compare without --fail-if shows the table alone")


def _records(path: Path, model: Path | None) -> list[Record]:
    """Return the records of a results file or folder; those of one model file alone where there is one."""
    wanted = None if model is None else load_artifact(model).sha256
    every = tuple(read_all(find_results([path]), on_foreign=lambda error: say(f"passed over: {error.message}")))
    if not every:
        raise ResultsError("has no record", path=str(path), hint=f"edgecnn bench MODEL --output {path}")
    found = [one for one in every if wanted is None or one.record.subject.sha256 == wanted]
    records = [one.record for one in found]
    if note := newer_note(found):
        say(f"{path}: {note}")
    if model is not None and not records:
        raise BadInput(f"{path} has no record of {model}", f"edgecnn bench {model} --output {path}")
    return records


def _show(rows: Sequence[Row]) -> None:
    width, cells = table_width(), table_rows(rows)
    shown = fitting(COLUMNS, cells, width, dropped=_DROPPED)
    lines = [*reasons(rows), *across_hint(rows), *hidden_note(COLUMNS, shown)]
    print_table(
        "edgecnn compare",
        shown,
        shown_cells(COLUMNS, cells, shown),
        left=[name for name in LEFT if name in shown],
        caption="\n".join(part for line in lines for part in folded(line, width)),
    )


def _crossed(violations: Sequence[Violation]) -> str:
    """Return which limits are crossed, by what and why: the first few, each why once and not longer than a line."""
    gates = dict.fromkeys(one.gate for one in violations)
    told: dict[tuple[str, str], dict[str, None]] = {}
    for one in violations:
        told.setdefault((one.title, one.message), {})[one.gate] = None
    parts = [
        ": ".join(filter(None, (", ".join(names), title, shorten(message, _LONGEST, placeholder=" ..."))))
        for (title, message), names in list(told.items())[:_TOLD]
    ]
    more = f"; and {len(told) - _TOLD} more, see the table" if len(told) > _TOLD else ""
    return f"{count_of(len(gates), 'limit')} crossed: {'; '.join(parts)}{more}"
