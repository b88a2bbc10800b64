"""A budget: upper limits of latency, memory, energy, drop and size, a lower one of throughput, read from one line of text.

latency=5ms,memory=100MB,energy=20mJ,drop=0.5
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.units import bytes_text, duration_text

# Names of units, whose case is free; bytes are decimal unless they are spelled with an i (IEC 80000-13).
_SECONDS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_JOULES = {"uJ": 1e-3, "µJ": 1e-3, "mJ": 1.0, "J": 1e3}
_POINTS = {"": 1.0, "pp": 1.0, "points": 1.0}
_RATES = {"": 1.0, "/s": 1.0, "images/s": 1.0}

# Case is free, but for a unit that is another one with a capital: a megajoule is no millijoule.
_MEGA = "MJ"

_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One quantity that can be limited.

    Attributes:
        name: what stands before "=".
        field: of `Budget` and of `edgecnn.tune.figures.Figures`, with its unit.
        units: unit as it is written, in any case -> how many of the field's unit it is.
        base: the unit of the field as it is written.
        at_least: the limit is a lower one.
        text: the value as people read it.
        zero: a limit of 0 means something.
        example: a limit as it is written.
        most: the greatest limit that means something.
    """

    name: str
    field: str
    units: Mapping[str, float]
    base: str
    text: Callable[[float], str]
    example: str
    at_least: bool = False
    zero: bool = False
    most: float = math.inf


AXES: tuple[Axis, ...] = (
    Axis(name="latency", field="latency_ns", units=_SECONDS, base="ns", text=duration_text, example="5ms"),
    Axis(name="memory", field="memory_bytes", units=_BYTES, base="B", text=bytes_text, example="100MB"),
    Axis(
        name="energy",
        field="energy_mj",
        units=_JOULES,
        base="mJ",
        text=lambda value: f"{value:.3g} mJ",
        example="20mJ",
    ),
    Axis(
        name="drop",
        field="drop_points",
        units=_POINTS,
        base="",
        text=lambda value: f"{value:.2f} points",
        example="0.5",
        zero=True,
        most=100.0,
    ),
    Axis(name="size", field="size_bytes", units=_BYTES, base="B", text=bytes_text, example="1MB"),
    Axis(
        name="throughput",
        field="throughput",
        units=_RATES,
        base="/s",
        text=lambda value: f"{value:.4g} images/s",
        example="200",
        at_least=True,
    ),
)
"""All that a budget may limit, in the order of tables."""

_BY_NAME = {axis.name: axis for axis in AXES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a deployment may take; None is no limit.

    Attributes:
        latency_ns: of one run with its batch, the upper end of the median's 95% interval.
        memory_bytes: greatest resident size of the process, interpreter and engine included.
        energy_mj: gross, of one image.
        drop_points: top-1 below that of the fp32 file on the same images, percentage points.
        size_bytes: of the model file.
        throughput: images per second, at least.
    """

    latency_ns: float | None = None
    memory_bytes: float | None = None
    energy_mj: float | None = None
    drop_points: float | None = None
    size_bytes: float | None = None
    throughput: float | None = None

    @property
    def limits(self) -> tuple[tuple[Axis, float], ...]:
        """The axes that are limited, with their limits."""
        found = ((axis, getattr(self, axis.field)) for axis in AXES)
        return tuple((axis, value) for axis, value in found if value is not None)

    @property
    def text(self) -> str:
        """The budget as `parse_budget` takes it, to the last bit."""
        return ",".join(f"{axis.name}={_written(axis, value)}" for axis, value in self.limits)


def parse_budget(text: str) -> Budget:
    """Return the budget of a line such as "latency=5ms,memory=100MB"; an empty line limits nothing.

    Raises:
        UnknownName: no such quantity.
        BadInput: no NAME=VALUE, a value without its unit, or one that is no limit.
        Contradiction: one quantity is limited twice, and not alike.
    """
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, written = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInput("budget", "--budget latency=5ms,drop=0.5", expected="NAME=VALUE", got=part)
        if name.lower() not in _BY_NAME:
            raise UnknownName("quantity of a budget", name, _BY_NAME)
        axis = _BY_NAME[name.lower()]
        value = _value(axis, written)
        if values.setdefault(axis.field, value) != value:
            both = f"{_written(axis, values[axis.field])} and {_written(axis, value)}"
            raise Contradiction(f"the budget limits {axis.name} twice: {both}", f"give {axis.name} once")
    return Budget(**values)


def _value(axis: Axis, written: str) -> float:
    matched = _NUMBER.fullmatch(written)
    unit = matched[2].lower() if matched else ""
    factors = {name.lower(): factor for name, factor in axis.units.items()}
    if matched is None or matched[2] == _MEGA or unit not in factors:
        raise BadInput(f"budget, {axis.name}", expected=_expected(axis), got=repr(written))
    value = float(matched[1]) * factors[unit]
    if not math.isfinite(value) or value < 0 or (value == 0 and not axis.zero):
        raise BadInput(f"budget, {axis.name}", expected="a finite number above 0", got=repr(written))
    if value > axis.most:
        raise BadInput(f"budget, {axis.name}", expected=f"at most {axis.text(axis.most)}", got=repr(written))
    return value


def _written(axis: Axis, value: float) -> str:
    """Return a limit with the largest decimal unit of which it is one or more, where that loses no bit."""
    decimal = ((factor, unit) for unit, factor in axis.units.items() if unit.isascii() and "i" not in unit)
    scaled = sorted(((factor, unit) for factor, unit in decimal if factor > 1), reverse=True)
    for factor, unit in scaled:
        if value >= factor and float(repr(value / factor)) * factor == value:
            return f"{_plain(value / factor)}{unit}"
    return f"{_plain(value)}{axis.base}"


def _plain(value: float) -> str:
    return repr(value).removesuffix(".0")


def _expected(axis: Axis) -> str:
    named = [unit for unit in axis.units if unit]
    if "" in axis.units:
        return f"a number such as {axis.name}={axis.example}, or one with {' or '.join(named)}"
    return f"a number and its unit, {axis.name}={axis.example} for example ({', '.join(named)})"
