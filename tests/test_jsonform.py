from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgecnn import results, specs
from edgecnn.errors import BadInput
from edgecnn.jsonform import attribute_texts, from_json, json_schema, to_json

CLASSES = [
    cls
    for module in (specs, results)
    for cls in vars(module).values()
    if dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A part.

    Attributes:
        size: pixels.
    """

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One of every kind of hint.

    Attributes:
        text: any: text, over
            two lines.
        number: real.
        path: a file.
        choice: a word.
        pair: two values.
        many: any number.
        table: by name.
        scalar: anything plain.
        inner: a part or nothing.
        anything: what JSON has.
    """

    text: str
    number: float
    path: Path
    choice: Literal["left", "right"] = "left"
    pair: tuple[int, str | None] = (0, None)
    many: tuple[Inner, ...] = ()
    table: Mapping[str, Inner] = field(default_factory=dict)
    scalar: str | int | float | bool | None = None
    inner: Inner | None = None
    anything: Any = None


GOOD: dict[str, Any] = {"text": "a", "number": 1.5, "path": "b/c"}


@functools.cache
def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a type hint; made once, which costs more than an example."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=9), values_of(arguments[1]), max_size=3)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{f.name: values_of(hints[f.name]) for f in dataclasses.fields(hint)})
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=12),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
        Path: st.text(max_size=12).map(Path),
        Any: st.recursive(st.none() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=2)),
    }
    return plain[hint]


@functools.cache
def validator_of(cls: type[Any]) -> Draft202012Validator:
    return Draft202012Validator(json_schema(cls, title="t"))


def _text(value: Any) -> str:
    return json.dumps(to_json(value), allow_nan=False)


@pytest.mark.parametrize("cls", [*CLASSES, Sample], ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_round_trip_and_schema(cls: type[Any], data: st.DataObject) -> None:
    value = data.draw(values_of(cls))
    plain = json.loads(_text(value))
    again = from_json(cls, plain)
    assert again == value
    assert repr(again) == repr(value)
    validator_of(cls).validate(plain)


def test_all_classes_that_travel_are_here() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert {"ModelSpec", "Artifact", "EngineInfo", "Preprocess", "Record", "Metric", "Quality", "Provenance"} <= names


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen_and_every_attribute_is_told(cls: type[Any]) -> None:
    value = object.__new__(cls)
    for one in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, one.name, None)
    assert hasattr(cls, "__slots__")
    texts = attribute_texts(cls)
    assert list(texts) == [f.name for f in dataclasses.fields(cls)]
    assert all(text.endswith(".") for text in texts.values())


def test_attribute_texts_join_lines_and_end_at_the_section() -> None:
    texts = attribute_texts(Sample)
    assert texts["text"] == "any: text, over two lines."
    assert texts["anything"] == "what JSON has."
    assert len(texts) == 10


def test_attribute_texts_do_not_depend_on_the_indentation_of_docstrings() -> None:
    """Python 3.13 takes the common indentation away, older ones keep it."""

    class Dedented:
        __doc__ = inspect.cleandoc(Sample.__doc__ or "")

    assert attribute_texts(Dedented) == attribute_texts(Sample)


def test_attribute_texts_of_a_class_without_any() -> None:
    assert attribute_texts(int) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "Sample.text: expected str, got null"),
        ({"text": 3}, "Sample.text: expected str, got int '3'"),
        ({"number": "1"}, "Sample.number: expected float, got str '1'"),
        ({"number": True}, "Sample.number: expected float, got bool 'True'"),
        ({"number": float("nan")}, "Sample.number: expected a finite float, got float 'nan'"),
        ({"number": 10**400}, "Sample.number: expected a finite float, got int '" + str(10**400)[:40] + "'"),
        ({"path": 3}, "Sample.path: expected Path, got int '3'"),
        ({"choice": "up"}, "Sample.choice: expected 'left' or 'right', got 'up'"),
        ({"choice": ["left"]}, "Sample.choice: expected 'left' or 'right', got ['left']"),
        ({"pair": [1]}, "Sample.pair: expected 2 values, got 1"),
        ({"pair": {"0": 1}}, "Sample.pair: expected a list, got dict \"{'0': 1}\""),
        ({"pair": [True, "b"]}, "Sample.pair[0]: expected int, got bool 'True'"),
        ({"pair": [1, 2]}, "Sample.pair[1]: expected str, got int '2'"),
        ({"many": [{"size": 1}, {"size": 1.0}]}, "Sample.many[1].size: expected int, got float '1.0'"),
        ({"many": [{"size": 1}, 7]}, "Sample.many[1]: expected an object, got int '7'"),
        ({"table": {"a": {"size": 1}, "b": {}}}, "Sample.table.b.size is missing"),
        ({"table": []}, "Sample.table: expected an object, got list '[]'"),
        ({"scalar": []}, "Sample.scalar: expected str or int or float or bool or null, got list '[]'"),
        ({"inner": {"size": None}}, "Sample.inner.size: expected int, got null"),
        ({"inner": {"size": 1, "hue": 2}}, "Sample.inner has unknown keys: expected size, got hue"),
        ({"colour": 1, "z": 2, "text": "a"}, None),
    ],
)
def test_a_wrong_value_is_named_by_its_key_path(changes: dict[str, Any], message: str | None) -> None:
    names = ", ".join(f.name for f in dataclasses.fields(Sample))
    with pytest.raises(BadInput) as caught:
        from_json(Sample, {**GOOD, **changes})
    assert caught.value.message == (message or f"Sample has unknown keys: expected {names}, got colour, z")


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(key: str) -> None:
    data = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(BadInput, match=rf"^file\.toml\.{key} is missing$"):
        from_json(Sample, data, where="file.toml")


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(BadInput, match=r"^Sample: expected an object, got "):
        from_json(Sample, data)


def test_unknown_keys_are_passed_over_at_every_depth_on_request() -> None:
    data = {**GOOD, "new": 1, "many": [{"size": 3, "new": 2}], "inner": {"size": 4, "new": 5}}
    sample = from_json(Sample, data, ignore_unknown=True)
    assert sample == Sample(text="a", number=1.5, path=Path("b/c"), many=(Inner(size=3),), inner=Inner(size=4))


def test_defaults_stand_in_for_missing_keys() -> None:
    assert from_json(Sample, GOOD) == Sample(text="a", number=1.5, path=Path("b/c"))


@pytest.mark.parametrize("value", [1, 1.0, True, False, 0, "1", None])
def test_a_union_keeps_the_type(value: object) -> None:
    again = from_json(Sample, {**GOOD, "scalar": value}).scalar
    assert (type(again), again) == (type(value), value)


def test_the_order_of_a_union_does_not_matter() -> None:
    @dataclass(frozen=True)
    class Reversed:
        n: float | int

    for value in (1, 1.5):
        assert type(from_json(Reversed, {"n": value}).n) is type(value)


def test_a_whole_number_serves_as_a_real_one() -> None:
    number = from_json(Sample, {**GOOD, "number": 3}).number
    assert (type(number), number) == (float, 3.0)


def test_checks_of_the_class_itself_are_named_by_the_key_path() -> None:
    @dataclass(frozen=True)
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n < 1:
                raise BadInput("n", "count again", expected="at least 1", got=str(self.n))

    with pytest.raises(BadInput) as caught:
        from_json(Positive, {"n": 0}, where="a.toml")
    assert (caught.value.message, caught.value.hint) == ("a.toml.n: expected at least 1, got 0", "count again")


def test_schema_of_every_kind_of_hint() -> None:
    schema = json_schema(Sample, title="sample/1")
    Draft202012Validator.check_schema(schema)
    assert (schema["title"], schema["$ref"]) == ("sample/1", "#/$defs/Sample")
    properties = schema["$defs"]["Sample"]["properties"]
    assert properties["text"] == {"type": "string", "description": "any: text, over two lines."}
    assert properties["number"]["type"] == "number"
    assert properties["path"]["type"] == "string"
    assert properties["choice"]["enum"] == ["left", "right"]
    assert properties["pair"]["prefixItems"] == [{"type": "integer"}, {"anyOf": [{"type": "string"}, {"type": "null"}]}]
    assert (properties["pair"]["minItems"], properties["pair"]["maxItems"]) == (2, 2)
    assert properties["many"]["items"] == {"$ref": "#/$defs/Inner"}
    assert properties["table"]["additionalProperties"] == {"$ref": "#/$defs/Inner"}
    assert properties["inner"]["anyOf"] == [{"$ref": "#/$defs/Inner"}, {"type": "null"}]
    assert properties["anything"] == {"description": "what JSON has."}
    assert schema["$defs"]["Sample"]["required"] == ["text", "number", "path"]
    assert schema["$defs"]["Sample"]["description"] == "One of every kind of hint."
    assert schema["$defs"]["Inner"]["additionalProperties"] is False
