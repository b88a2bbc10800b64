"""SQL over results files: two tables in memory, made from the record's dataclasses, and one SELECT over them.

    records   one row per record: `record` (a number), `source` and `line` (where it stands), then every field as
              group_field: subject_network, runtime_threads, device_cpu, plan_batch, quality_verdict, power_energy_mj, ...
    metrics   one row per metric: `record`, then name, unit, n, min, median, p90, ..., samples

Lists are lists (`ci95[1]` is the lower end), mappings and lists of objects are JSON text (`runtime_options->>'arena'`).
A field that the record does not have is NULL. The statement sees these tables and nothing else: no files, no network, no
extensions.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from edgecnn.errors import BadInput, first_line
from edgecnn.jsonform import to_json
from edgecnn.results import Metric, Record
from edgecnn.resultsfiles import Found

Cell = Any
"""A plain value: text, number, truth value, list or mapping of those, or None."""

_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}

# Nothing but the tables: no files, no extensions, no Python variables of the caller by their names.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}

# BIGINT has 64 bits.
_BIGGEST = 1 << 63

# Rows of one INSERT; a statement of its own per row takes ten times as long.
_ROWS_AT_ONCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: in SQL.
        kind: type in SQL.
        path: where the value lies, attribute by attribute.
    """

    name: str
    kind: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a statement gave.

    Attributes:
        columns: names, no two alike.
        rows: plain values.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def query(found: Iterable[Found], sql: str) -> Answer:
    """Return what a SELECT over the tables `records` and `metrics` gives.

    Args:
        found: the records, each with the file and line that it stands in.
        sql: one SELECT statement.

    Raises:
        BadInput: not one SELECT, or DuckDB refuses it.
        MissingDependency: by way of ModuleNotFoundError in the command line, where duckdb is not installed.
    """
    import duckdb

    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        try:
            statement = _only_select(connection.extract_statements(sql), duckdb.StatementType.SELECT)
        except duckdb.Error as error:
            raise BadInput(f"--sql: {first_line(error)}") from None
        _fill(connection, list(found))
        try:
            result = connection.execute(statement)
            names = [str(column[0]) for column in result.description or ()]
            rows = result.fetchall()
        except duckdb.Error as error:
            raise BadInput(f"--sql: {_told(error)}", _hint(error)) from None
    return Answer(columns=_distinct(names), rows=tuple(tuple(map(_plain, row)) for row in rows))


def record_columns() -> tuple[Column, ...]:
    """Return the columns of the table `records` that come from the record, in the order of the dataclasses."""
    return tuple(_columns(Record, ()))


def metric_columns() -> tuple[Column, ...]:
    """Return the columns of the table `metrics` that come from the metric."""
    return tuple(_columns(Metric, ()))


def _columns(cls: Any, path: tuple[str, ...]) -> Iterator[Column]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        here = (*path, field.name)
        if here == ("metrics",):
            continue
        inner = _without_none(hints[field.name])
        if dataclasses.is_dataclass(inner):
            yield from _columns(inner, here)
        else:
            yield Column(name="_".join(here), kind=_kind(inner), path=here)


def _kind(hint: Any) -> str:
    """Return the SQL type; JSON for what has none."""
    if hint in _TYPES:
        return _TYPES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "VARCHAR"
    if origin is tuple:
        kinds = {_TYPES.get(_without_none(argument)) for argument in arguments if argument is not Ellipsis}
        if len(kinds) == 1 and None not in kinds:
            return f"{kinds.pop()}[]"
    return "JSON"


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (Union, types.UnionType):
        others = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        return others[0] if len(others) == 1 else hint
    return hint


def _fill(connection: Any, found: Sequence[Found]) -> None:
    columns = record_columns()
    place = (("record", "BIGINT"), ("source", "VARCHAR"), ("line", "BIGINT"))
    rows = (
        (number, str(one.path), one.line, *(_cell(one.record, column) for column in columns))
        for number, one in enumerate(found)
    )
    _table(connection, "records", [*place, *((column.name, column.kind) for column in columns)], rows)
    own = metric_columns()
    metrics = (
        (number, *(_cell(metric, column) for column in own))
        for number, one in enumerate(found)
        for metric in one.record.metrics
    )
    _table(connection, "metrics", [place[0], *((column.name, column.kind) for column in own)], metrics)


def _table(connection: Any, name: str, columns: Sequence[tuple[str, str]], rows: Iterable[tuple[Cell, ...]]) -> None:
    declared = ", ".join(f'"{column}" {kind}' for column, kind in columns)
    connection.execute(f"CREATE TABLE {name} ({declared})")
    marks = f"({', '.join('?' * len(columns))})"
    waiting: list[tuple[Cell, ...]] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == _ROWS_AT_ONCE:
            _insert(connection, name, marks, waiting)
            waiting = []
    if waiting:
        _insert(connection, name, marks, waiting)


def _insert(connection: Any, name: str, marks: str, rows: Sequence[tuple[Cell, ...]]) -> None:
    values = [value for row in rows for value in row]
    connection.execute(f"INSERT INTO {name} VALUES {', '.join([marks] * len(rows))}", values)


def _cell(value: Any, column: Column) -> Cell:
    for name in column.path:
        value = getattr(value, name, None)
    if value is None:
        return None
    if column.kind == "JSON":
        return json.dumps(to_json(value), ensure_ascii=False)
    return [_single(item) for item in value] if isinstance(value, tuple) else _single(value)


def _single(value: Cell) -> Cell:
    """Return a value as a column takes it: a whole number that no column can hold is NULL."""
    if isinstance(value, int) and not -_BIGGEST <= value < _BIGGEST:
        return None
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    # Bytes of a file name that are not UTF-8 are lone surrogates in Python, which no database takes.
    return value.encode(errors="backslashreplace").decode()


def _only_select(statements: Sequence[Any], select: Any) -> Any:
    if len(statements) != 1 or statements[0].type != select:
        got = f"{len(statements)} statements" if len(statements) != 1 else str(statements[0].type).rpartition(".")[2]
        raise BadInput("--sql", "the files themselves are never changed", expected="one SELECT", got=got)
    return statements[0]


def _told(error: Exception) -> str:
    """Return what DuckDB says in one line, with the names that it suggests."""
    if "pytz" in str(error):
        return "a time with a zone cannot be shown"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines[:3] if not line.startswith(("LINE ", "^"))]
    return " ".join(kept)[:300]


def _hint(error: Exception) -> str:
    text = str(error)
    if "Permission" in text or "file system" in text:
        return "a query sees the tables records and metrics; name files after the options"
    if "pytz" in text:
        return "cast it: ::varchar"
    return "tables: records, metrics; their columns: DESCRIBE records"


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each repeated one with a number."""
    taken: dict[str, None] = {}
    for name in names:
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken[free] = None
    return tuple(taken)


def _plain(value: Any) -> Cell:
    """Return the value as JSON can hold it: not a number is None, dates and the like are text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)
