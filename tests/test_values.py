"""Frozen dataclasses that are cheap to define: told apart from the standard library's by nothing but their cost."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn import specs, values
from edgecnn.errors import BadInput
from edgecnn.runtimes.base import OpenOptions


class _Fields:
    name: str
    sizes: tuple[int, ...] = ()
    parts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == "refused":
            raise BadInput("name")


def _class(decorator: Any) -> type[Any]:
    body = {"__annotations__": dict(_Fields.__annotations__), "__qualname__": "Sample", "__module__": __name__}
    body |= {"sizes": (), "parts": dataclasses.field(default_factory=dict), "__post_init__": _Fields.__post_init__}
    made: type[Any] = decorator(frozen=True, slots=True, kw_only=True)(type("Sample", (), body))
    return made


CHEAP = _class(values.dataclass)
STANDARD = _class(dataclasses.dataclass)

ARGUMENTS = st.fixed_dictionaries(
    {"name": st.text(max_size=3).filter(lambda text: text != "refused")},
    optional={"sizes": st.lists(st.integers(0, 3), max_size=2).map(tuple)},
)


@given(ARGUMENTS, ARGUMENTS)
def test_values_are_those_of_the_standard_decorator(one: dict[str, Any], other: dict[str, Any]) -> None:
    cheap, standard = CHEAP(**one), STANDARD(**one)
    assert repr(cheap) == repr(standard)
    assert dataclasses.asdict(cheap) == dataclasses.asdict(standard)
    assert (cheap == CHEAP(**other)) == (standard == STANDARD(**other))
    assert cheap != standard
    again = dataclasses.replace(cheap, sizes=(7,))
    assert (again.name, again.sizes, again.parts) == (cheap.name, (7,), cheap.parts)


def test_each_value_has_a_default_of_its_own() -> None:
    one, other = CHEAP(name="a"), CHEAP(name="a")
    assert one.parts == {}
    assert one.parts is not other.parts


def test_equal_values_share_a_hash_and_lists_in_them_have_none() -> None:
    spec = specs.TensorSpec(name="x", dtype="float32", shape=("N", 3))
    assert {spec: 1}[specs.TensorSpec(name="x", dtype="float32", shape=("N", 3))] == 1
    assert hash(spec) != hash(dataclasses.replace(spec, name="y"))
    with pytest.raises(TypeError):
        hash(CHEAP(name="a"))


@pytest.mark.parametrize("made", [CHEAP, STANDARD], ids=["cheap", "standard"])
def test_nothing_can_be_changed(made: type[Any]) -> None:
    value = made(name="a")
    for change in (
        lambda: setattr(value, "name", "b"),
        lambda: setattr(value, "new", 1),
        lambda: delattr(value, "name"),
    ):
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            change()
    assert value == made(name="a")
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("made", [CHEAP, STANDARD], ids=["cheap", "standard"])
@pytest.mark.parametrize("wrong", [{}, {"name": "a", "nmae": "b"}, {"sizes": ()}])
def test_wrong_arguments_are_a_type_error(made: type[Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="nmae" if "nmae" in wrong else "name"):
        made(**wrong)
    with pytest.raises(TypeError):
        made("a")


@pytest.mark.parametrize("made", [CHEAP, STANDARD], ids=["cheap", "standard"])
def test_what_a_class_checks_is_checked(made: type[Any]) -> None:
    with pytest.raises(BadInput):
        made(name="refused")


def test_values_travel() -> None:
    options = OpenOptions(threads=2, engine={"session.x": 1})
    for again in (pickle.loads(pickle.dumps(options)), copy.copy(options), copy.deepcopy(options)):
        assert again == options
        with pytest.raises(dataclasses.FrozenInstanceError):
            again.threads = 3


@pytest.mark.parametrize("asked", [{}, {"frozen": True, "slots": True}, {"slots": True, "kw_only": True}])
def test_what_it_does_not_make_is_said(asked: dict[str, bool]) -> None:
    with pytest.raises(TypeError, match=r"dataclasses\.dataclass"):
        values.dataclass(**asked)


def test_a_method_of_the_class_stays() -> None:
    @values.dataclass(frozen=True, slots=True, kw_only=True)
    class Named:
        """Has its own text.

        Attributes:
            name: of it.
        """

        name: str

        def __repr__(self) -> str:
            return f"<{self.name}>"

    assert repr(Named(name="a")) == "<a>"
