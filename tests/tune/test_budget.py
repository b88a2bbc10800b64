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
    return Budget(**{axis.field: draw(st.none() | POSITIVE.filter(axis.most.__ge__)) for axis in AXES})


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


def test_a_budget_is_written_as_people_would() -> None:
    text = "latency=20ms,memory=500MB,energy=1.5J,drop=0.5,size=300kB,throughput=200/s"
    assert parse_budget(text).text == text
    assert parse_budget("latency=20000000ns,drop=100").text == "latency=20ms,drop=100"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latency=5", "latency=5ms for example (ns, us, µs, ms, s)"),
        ("memory=5", "memory=100MB for example (B, kB, MB, GB, KiB, MiB, GiB)"),
        ("drop=200", "at most 100.00 points, got '200'"),
        ("drop=half", "a number such as drop=0.5"),
    ],
)
def test_what_is_expected_is_said_by_an_example(text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_budget(text)
    assert told in caught.value.message


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
    with pytest.raises(Contradiction, match="latency twice: 5ms and 4ms"):
        parse_budget("latency=5ms,drop=1,latency=4ms")
    assert parse_budget("latency=5ms,drop=1,latency=5000us") == parse_budget("latency=5ms,drop=1")


@given(st.text(max_size=40))
def test_any_text_is_a_budget_or_an_error_of_the_tree(text: str) -> None:
    try:
        budget = parse_budget(text)
    except (BadInput, UnknownName, Contradiction):
        return
    assert all(value >= 0 for _, value in budget.limits)


def test_mega_is_not_milli() -> None:
    with pytest.raises(BadInput, match="a number and its unit"):
        parse_budget("energy=1MJ")


def test_case_is_free_where_it_says_nothing() -> None:
    assert parse_budget("memory=1mb,energy=1J") == parse_budget("memory=1MB,energy=1j")
