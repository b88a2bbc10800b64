"""Frozen dataclasses whose definition costs next to nothing, for what a process imports on its way to its first answer.

`dataclasses.dataclass` compiles half a dozen functions for each class whenever its module is imported; for the classes that
opening a model needs that takes longer than all else of edgecnn. The ones made here share functions that are written once.
They are dataclasses of the standard library in every other way: `fields`, `replace`, `asdict`, comparison, hash, copies and
pickles, and the errors of a wrong argument or an assignment. What it costs is that `inspect.signature` tells `**values`, and
some microseconds per value; values that are made in large numbers take the standard decorator.

Modules import it so that type checkers see the standard decorator, with the same arguments:

    if TYPE_CHECKING:
        from dataclasses import dataclass
    else:
        from edgecnn.values import dataclass
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def dataclass(
    *, frozen: bool = False, slots: bool = False, kw_only: bool = False, init: bool = True
) -> Callable[[type[T]], type[T]]:
    """Return a decorator that does what that of the standard library does with these arguments.

    Raises:
        TypeError: the class is not to be frozen and to have slots, or is to get an `__init__` that takes positions.
    """
    if not (frozen and slots and (kw_only or not init)):
        raise TypeError("edgecnn.values makes frozen classes with slots and keywords; take dataclasses.dataclass")

    def define(cls: type[T]) -> type[T]:
        # Fields and slots are the standard decorator's; what it would compile is left out.
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
        for method in _METHODS:
            if method.__name__ not in vars(cls):
                setattr(made, method.__name__, method)
        return made

    return define


def __init__(self: Any, **given: Any) -> None:  # noqa: N807 (a method of all that `dataclass` makes, as those below)
    missing = []
    for name, field in self.__dataclass_fields__.items():
        if name in given:
            value = given.pop(name)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            missing.append(name)
            continue
        object.__setattr__(self, name, value)
    if given or missing:
        what = f"an unexpected keyword argument {next(iter(given))!r}" if given else f"no argument {missing[0]!r}"
        raise TypeError(f"{type(self).__qualname__}() got {what}")
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def __repr__(self: Any) -> str:  # noqa: N807
    inner = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({inner})"


def __eq__(self: Any, other: object) -> bool:  # noqa: N807
    return _content(self) == _content(other) if type(other) is type(self) else NotImplemented


def __hash__(self: Any) -> int:  # noqa: N807
    return hash(_content(self))


def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:  # noqa: N807
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def __getstate__(self: Any) -> tuple[Any, ...]:  # noqa: N807
    return _content(self)


def __setstate__(self: Any, state: tuple[Any, ...]) -> None:  # noqa: N807
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        object.__setattr__(self, name, value)


def _content(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value.__dataclass_fields__])


_METHODS = (__init__, __repr__, __eq__, __hash__, __setattr__, __delattr__, __getstate__, __setstate__)
