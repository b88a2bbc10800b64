"""What two records must agree in to be compared: the fields of their groups subject, runtime, device and plan.

Left out are fields that a new build of the same network changes by its nature (the file and what is known about it), and
those that a measurement finds out rather than is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from edgecnn.errors import UnknownName
from edgecnn.report.rows import words
from edgecnn.results import Device, Plan, Record, Subject
from edgecnn.specs import EngineInfo

Key = tuple[tuple[str, Any], ...]

_FILE = "subject.file"

_BUILD = {"file", "sha256", "size_bytes", "params", "macs", "weights", "accuracy", "lineage"}
_FOUND = {"runtime.providers_asked", "runtime.nodes", "plan.clock_resolution_ns"}
_GROUPS = {"subject": Subject, "runtime": EngineInfo, "device": Device, "plan": Plan}

FIELDS = tuple(
    name
    for group, cls in _GROUPS.items()
    for field in dataclasses.fields(cls)
    if (name := f"{group}.{field.name}") not in _FOUND and not (group == "subject" and field.name in _BUILD)
)
"""Names of the fields that must agree."""


def check_fields(names: Collection[str]) -> None:
    """Return if all names are fields that must agree otherwise.

    Raises:
        UnknownName: one is not.
    """
    for name in names:
        if name not in FIELDS and not name.startswith("runtime.options."):
            raise UnknownName("field", name, FIELDS)


def key_of(record: Record, *, across: Collection[str] = ()) -> Key:
    """Return the values that must agree, with their names.

    Args:
        record: a record that is ok.
        across: names of fields that may differ.
    """
    return tuple((name, value) for name, value in _values(record) if not _left_out(name, across))


def differences(old: Record, new: Record, *, across: Collection[str] = ()) -> tuple[str, ...]:
    """Return the fields in which two records differ, each with both values; those of a missing runtime are left out."""
    first, second = dict(key_of(old, across=across)), dict(key_of(new, across=across))
    if old.runtime is None or new.runtime is None:
        first, second = (
            {name: value for name, value in values.items() if not name.startswith("runtime.")}
            for values in (first, second)
        )
    names = dict.fromkeys((*first, *second))
    return tuple(
        f"{name}: {_text(first.get(name))} against {_text(second.get(name))}"
        for name in names
        if first.get(name) != second.get(name)
    )


def details(sides: Collection[Sequence[Record]], *, across: Collection[str] = ()) -> dict[int, str]:
    """Return id of a record -> what tells it from others of its side that have the same words, empty where nothing has to.

    Args:
        sides: the records of each side; both sides get the same words for what is the same.
        across: names of fields that may differ.
    """
    alike: dict[str, list[list[Record]]] = {}
    for place, side in enumerate(sides):
        for record in side:
            alike.setdefault(words(record), [[] for _ in sides])[place].append(record)
    found = {}
    for group in alike.values():
        names = _distinctive(group, across)
        found.update({id(record): ", ".join(_telling(record, names)) for side in group for record in side})
    return found


def _distinctive(sides: Sequence[Sequence[Record]], across: Collection[str]) -> dict[str, None]:
    """Return the names of fields in which records of one side differ, the file's where nothing else tells two of them."""
    names: dict[str, None] = {}
    for side in sides:
        keys = [dict(key_of(record, across=across)) for record in side]
        every = dict.fromkeys(name for key in keys for name in key)
        names |= {name: None for name in every if len({key.get(name) for key in keys}) > 1}
        files: dict[Key, set[str]] = {}
        for record in side:
            files.setdefault(key_of(record, across=across), set()).add(record.subject.file)
        if any(len(found) > 1 for found in files.values()):
            names[_FILE] = None
    return names


def _telling(record: Record, names: Collection[str]) -> Iterator[str]:
    values = {**dict(_values(record)), _FILE: record.subject.file}
    for name in names:
        yield values[name] if name == _FILE else f"{name.partition('.')[2]} {_text(values.get(name))}"


def _left_out(name: str, across: Collection[str]) -> bool:
    """Tell whether a field may differ; `runtime.options` stands for all of them."""
    return name in across or any(name.startswith(f"{one}.") for one in across)


def _values(record: Record) -> Iterator[tuple[str, Any]]:
    for name in FIELDS:
        group, _, field = name.partition(".")
        value = getattr(getattr(record, group), field, None)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", value[key]) for key in sorted(value))
        else:
            yield name, value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value)) if all(isinstance(part, int) for part in value) else ", ".join(map(str, value))
    return "unknown" if value is None else str(value)
