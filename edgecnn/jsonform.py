"""Frozen dataclasses <-> plain JSON values, driven by the type hints; also the JSON schema of a dataclass.

Supported hints: str, int, float, bool, None, Path, Literal, unions of these, tuple[T, ...], tuple[T, U], dataclasses and
Mapping[str, T]. Reading is strict: a missing key without default, an unknown key or a wrong type is a BadInput naming the
key path, unless `ignore_unknown` is set, which a reader of newer files needs.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from edgecnn.errors import BadInput

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return the plain JSON form: dicts, lists, strings, numbers, booleans and None only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def from_json(cls: type[T], data: Any, *, where: str = "", ignore_unknown: bool = False) -> T:
    """Return the dataclass that `to_json` turned into `data`.

    Args:
        cls: the dataclass.
        data: its plain JSON form.
        where: name of the value, put in front of key paths in messages.
        ignore_unknown: pass over keys that the dataclass does not have instead of raising.

    Raises:
        BadInput: a key is missing or unknown, or a value has the wrong type.
    """
    result: T = _read_dataclass(cls, data, where or cls.__name__, ignore_unknown)
    return result


def json_schema(cls: type[Any], *, title: str) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a dataclass; attribute texts come from its Google docstring."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    }
    definitions: dict[str, Any] = {}
    schema.update(_schema(cls, definitions))
    schema["$defs"] = dict(sorted(definitions.items()))
    return schema


def attribute_texts(cls: type[Any]) -> dict[str, str]:
    """Return the "Attributes:" section of a dataclass's docstring as name -> text."""
    texts: dict[str, str] = {}
    lines = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2].splitlines()
    name = ""
    for line in lines:
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if not stripped:
            if name:
                break
            continue
        head, colon, rest = stripped.partition(": ")
        if indent == 4 and colon and head.isidentifier():
            name = head
            texts[name] = rest
        elif name and indent > 4:
            texts[name] += " " + stripped
        else:
            break
    return texts


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    hints: dict[str, Any] = typing.get_type_hints(cls)
    return hints


def _read_dataclass(cls: Any, data: Any, where: str, ignore_unknown: bool) -> Any:
    if not isinstance(data, dict):
        raise BadInput(where, expected="an object", got=_name(data))
    hints = _hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in data:
            values[field.name] = _read(hints[field.name], data[field.name], f"{where}.{field.name}", ignore_unknown)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BadInput(f"{where}.{field.name} is missing")
    unknown = sorted(set(data) - set(hints))
    if unknown and not ignore_unknown:
        raise BadInput(f"{where} has unknown keys", expected=", ".join(hints), got=", ".join(unknown))
    try:
        return cls(**values)
    except BadInput as error:
        raise BadInput(f"{where}.{error.message}", error.hint) from None


def _read(hint: Any, value: Any, where: str, ignore_unknown: bool) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where, ignore_unknown)
    if origin is Literal:
        if value not in arguments:
            raise BadInput(where, expected=" or ".join(map(repr, arguments)), got=repr(value))
        return value
    if origin is tuple:
        return _read_tuple(arguments, value, where, ignore_unknown)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise BadInput(where, expected="an object", got=_name(value))
        return {k: _read(arguments[1], v, f"{where}.{k}", ignore_unknown) for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, where, ignore_unknown)
    return _read_scalar(hint, value, where)


def _read_union(arguments: tuple[Any, ...], value: Any, where: str, ignore_unknown: bool) -> Any:
    if value is None and type(None) in arguments:
        return None
    others = [hint for hint in arguments if hint is not type(None)]
    if len(others) == 1:
        return _read(others[0], value, where, ignore_unknown)
    # An exact type match goes first, so that 1 read as int | float stays an int and True stays a bool.
    for hint in sorted(others, key=lambda hint: hint is not type(value)):
        try:
            return _read(hint, value, where, ignore_unknown)
        except BadInput:
            continue
    names = [getattr(hint, "__name__", str(hint)) for hint in others]
    names += ["null"] if len(others) < len(arguments) else []
    raise BadInput(where, expected=" or ".join(names), got=_name(value))


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str, ignore_unknown: bool) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadInput(where, expected="a list", got=_name(value))
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise BadInput(where, expected=f"{len(arguments)} values", got=str(len(value)))
    items = zip(arguments, value, strict=True)
    return tuple(_read(hint, item, f"{where}[{i}]", ignore_unknown) for i, (hint, item) in enumerate(items))


def _read_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and type(value) in (int, float):
        return _finite(value, where)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (str, int, bool, type(None)) and type(value) is hint:
        return value
    raise BadInput(where, expected=getattr(hint, "__name__", str(hint)), got=_name(value))


def _finite(value: float, where: str) -> float:
    # Python's reader takes NaN and Infinity, which are not JSON, and makes an infinity of 1e999.
    try:
        if math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise BadInput(where, expected="a finite float", got=_name(value))


def _name(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


_JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", Path: "string"}


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        items = [_schema(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if dataclasses.is_dataclass(hint):
        return _schema_reference(hint, definitions)
    if hint is Any:
        return {}
    return {"type": _JSON_NAMES[hint]}


def _schema_reference(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _schema_object(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _schema_object(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, texts = _hints(cls), attribute_texts(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        properties[field.name] = {**_schema(hints[field.name], definitions), "description": texts.get(field.name, "")}
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    return {
        "type": "object",
        "description": (cls.__doc__ or "").splitlines()[0],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
