"""What two records must agree in to be compared: the fields of their groups subject, runtime, device and plan.

Left out are fields that a new build of the same network changes by its nature (the file and what is known about it), and
those that a measurement finds out rather than is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from edgecnn.errors import UnknownName
from edgecnn.results import Device, Plan, Record, Subject
from edgecnn.specs import EngineInfo

Key = tuple[tuple[str, Any], ...]

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
    return tuple((name, value) for name, value in _values(record) if name not in across)


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
