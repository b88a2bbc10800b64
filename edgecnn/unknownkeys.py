"""Keys of plain JSON values that a dataclass does not have: what a newer version, or somebody else, wrote besides.

A reader passes over them; whoever writes the value again puts them back, so that nothing that was measured is lost on the way
through an older version.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from typing import Any, Union

Unknown = Mapping[Any, Any]
"""The unknown keys with their values, at the places where they stand: objects by key, list items by number."""


def unknown_keys(cls: Any, data: Mapping[str, Any]) -> Unknown:
    """Return what of a dataclass's plain JSON form `edgecnn.jsonform.from_json` passes over; empty where that is nothing.

    Args:
        cls: the dataclass.
        data: a form of it that can be read.
    """
    fields = _fields(cls)
    found: dict[Any, Any] = {key: value for key, value in data.items() if key not in fields}
    for name, inner in fields.items():
        if inner is not None and (below := _below(inner, data.get(name))):
            found[name] = below
    return found


def with_unknown(plain: Any, unknown: Unknown) -> Any:
    """Return a plain JSON value with unknown keys in their places.

    Args:
        plain: of the same object.
        unknown: as `unknown_keys` returned them.
    """
    if not unknown:
        return plain
    if isinstance(plain, list):
        return [with_unknown(item, unknown.get(place, {})) for place, item in enumerate(plain)]
    merged = {key: with_unknown(value, unknown[key]) if key in unknown else value for key, value in plain.items()}
    return merged | {key: value for key, value in unknown.items() if key not in plain}


def _below(cls: Any, data: Any) -> Unknown:
    if isinstance(data, dict):
        return unknown_keys(cls, data)
    if isinstance(data, list):
        found = ((place, _below(cls, item)) for place, item in enumerate(data))
        return {place: below for place, below in found if below}
    return {}


@cache
def _fields(cls: Hashable) -> Mapping[str, type[Any] | None]:
    """Return the names of the fields; each with the dataclass that it holds, or lists, None where it holds none."""
    return {name: next(_dataclasses_in(hint), None) for name, hint in typing.get_type_hints(cls).items()}


def _dataclasses_in(hint: Any) -> Iterator[type[Any]]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    elif typing.get_origin(hint) in (Union, types.UnionType, tuple):
        for argument in typing.get_args(hint):
            yield from _dataclasses_in(argument)
