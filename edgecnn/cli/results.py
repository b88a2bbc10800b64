"""`edgecnn results`: SQL over results files, and a fleet's files into one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgecnn.cli.options import json_option
from edgecnn.cli.output import BESIDE, print_json, print_table, say, table_width
from edgecnn.errors import BadInput, ResultsError
from edgecnn.resultsfiles import SUFFIX, find_results, import_results, newer_note, read_all, repeated
from edgecnn.resultsquery import Answer, query
from edgecnn.units import count_of

# Characters of a line that a pager or an editor still shows as one.
_MOST = 1000


@click.group()
def results() -> None:
    """Work with files of results.

    \b
    Example:
      edgecnn results import fleet/ -o all.jsonl
      edgecnn results query --sql "SELECT device_board, name, median FROM records JOIN metrics USING (record)" all.jsonl
    """


@results.command("query")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|DIR...")
@click.option(
    "--sql", required=True, help="One SELECT over the tables records and metrics; DESCRIBE records lists columns."
)
@json_option
def query_command(paths: tuple[Path, ...], sql: str, as_json: bool) -> None:
    """Ask the records of files and folders by SQL (DuckDB).

    The table records has a row per record, with columns such as subject_network, runtime_backend, device_board,
    plan_batch, quality_verdict; metrics has a row per metric, with name, unit, median, p90, samples; `record` joins them.

    \b
    Example:
      edgecnn results query --sql "SELECT subject_network, count(*) FROM records GROUP BY ALL" results.jsonl
      edgecnn results query --sql "SELECT name, median FROM metrics WHERE name = 'latency'" fleet/ --json
    """
    found = tuple(read_all(find_results(paths), on_foreign=_pass_over))
    if note := newer_note(found):
        say(note)
    again = repeated(found)
    if again:
        say(
            f"{count_of(again, 'record')} there more than once and counted each time: edgecnn results import keeps one of each"
        )
    answer = query(found, sql)
    if as_json:
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
    else:
        _show(answer)


@results.command("import")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Results file that they are appended to."
)
@json_option
def import_command(folder: Path, output: Path, as_json: bool) -> None:
    """Append the records of all results files below DIR to one file, each record once.

    Records whose content is there already are left out, whatever file they came in. Lines that are no records are named by
    file and line, and passed over. Keys that this edgecnn does not know are kept as they are.

    \b
    Example:
      edgecnn results import fleet/ -o all.jsonl
    """
    if output.suffix != SUFFIX:
        raise BadInput("results file", expected=f"a name that ends in {SUFFIX}", got=str(output))
    done = import_results(folder, output, on_foreign=_pass_over)
    if as_json:
        print_json(done)
    else:
        click.echo(
            f"{output}: files read: {done.files}, records added: {done.added}, already there: {done.known}, "
            f"foreign lines passed over: {done.foreign}"
        )
    if done.newer:
        say(f"{count_of(done.newer, 'record')} with keys that this edgecnn does not know, kept as they are")


def _pass_over(error: ResultsError) -> None:
    say(f"passed over: {error.message}")


def _show(answer: Answer) -> None:
    rows = [tuple(map(_text, row)) for row in answer.rows]
    left = [name for place, name in enumerate(answer.columns) if not _are_numbers([row[place] for row in answer.rows])]
    count = len(answer.rows)
    longest = [max(map(len, column)) for column in zip(answer.columns, *rows, strict=True)]
    width, most = sum(longest) + BESIDE * (len(longest) - 1), table_width() or _MOST
    if width > most:
        say(f"a line has {width:,} characters, more than {most}: name the columns in the SELECT, or take --json")
    print_table("edgecnn results", answer.columns, rows, left=left, caption=f"{count} row{'s' * (count != 1)}")


def _are_numbers(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
