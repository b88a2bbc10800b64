"""Budgets: units, round trip, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.tune.budget import AXES, Budget, parse_budget

POSITIVE = st.floats(min_value=1e-9, max_value=1e15)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    return Budget(**{axis.field: draw(st.none() | POSITIVE) for axis in AXES})


@given(budgets())
def test_the_text_of_a_budget_is_that_budget(budget: Budget) -> None:
    assert parse_budget(budget.text) == budget


@given(st.permutations(["latency=5ms", "memory=100MB", "energy=20mJ", "drop=0.5"]))
def test_the_order_does_not_matter(parts: list[str]) -> None:
    wanted = Budget(latency_ns=5e6, memory_bytes=1e8, energy_mj=20.0, drop_points=0.5)
    assert parse_budget(",".join(parts)) == wanted
    assert parse_budget(" , ".join(parts).upper().replace("MJ", "mJ")) == wanted


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("latency=2s", "latency_ns", 2e9),
        ("latency=.5us", "latency_ns", 500.0),
        ("latency=1e3µs", "latency_ns", 1e6),
        ("memory=1MiB", "memory_bytes", 1048576.0),
        ("memory=1.5 GB", "memory_bytes", 1.5e9),
        ("energy=1J", "energy_mj", 1000.0),
        ("energy=250uJ", "energy_mj", 0.25),
        ("drop=0", "drop_points", 0.0),
        ("drop=1pp", "drop_points", 1.0),
        ("size=300kB", "size_bytes", 3e5),
        ("throughput=200/s", "throughput", 200.0),
        ("throughput=200", "throughput", 200.0),
    ],
)
def test_units(text: str, field: str, value: float) -> None:
    assert getattr(parse_budget(text), field) == pytest.approx(value)


def test_nothing_limits_nothing() -> None:
    assert parse_budget("") == Budget()
    assert parse_budget(" , ").limits == ()


@pytest.mark.parametrize(
    "text",
    [
        "latency=5", "latency=5MB", "latency=0ms", "latency=-1ms", "latency=nanms", "latency=ms", "latency", "drop=-1",
        "drop=half", "memory=1e999MB", "latency=1e-400ms", "throughput=0", "latency=5 m s", "=5ms",
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises((BadInput, UnknownName)) as error:
        parse_budget(text)
    assert error.value.message


def test_an_unknown_quantity_is_guessed() -> None:
    with pytest.raises(UnknownName, match="latency"):
        parse_budget("latncy=5ms")


def test_one_quantity_limited_twice_contradicts_itself() -> None:
    with pytest.raises(Contradiction, match="latency twice"):
        parse_budget("latency=5ms,drop=1,latency=4ms")


@given(st.text(max_size=40))
def test_any_text_is_a_budget_or_an_error_of_the_tree(text: str) -> None:
    try:
        budget = parse_budget(text)
    except (BadInput, UnknownName, Contradiction):
        return
    assert all(value >= 0 for _, value in budget.limits)
