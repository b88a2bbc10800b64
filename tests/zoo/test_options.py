"""Options of a network: what they take, what they refuse, how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput
from edgecnn.zoo import Option

WIDTH = Option(name="width", default=1.0, low=0.03125)
GROUPS = Option(name="groups", default=1, choices=(1, 2, 4), label="g{}")
STRIDE = Option(name="stride_in", default="3x3", choices=("3x3", "1x1"))
NORM = Option(name="batch_norm", default=False, label="bn")


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        (WIDTH, 1, 1.0),
        (WIDTH, "0.25", 0.25),
        (GROUPS, "4", 4),
        (GROUPS, 2.0, 2),
        (STRIDE, "1x1", "1x1"),
        (NORM, "True", True),
        (NORM, False, False),
    ],
)
def test_a_value_comes_back_in_the_type_of_the_option(option: Option, given: object, expected: object) -> None:
    value = option.read(given)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("option", "given", "allowed"),
    [
        (WIDTH, 0, "a number at least 0.03125"),
        (WIDTH, "wide", "a number at least 0.03125"),
        (WIDTH, float("nan"), "a number at least 0.03125"),
        (WIDTH, float("inf"), "a number at least 0.03125"),
        (WIDTH, True, "a number at least 0.03125"),
        (GROUPS, 3, "1 or 2 or 4"),
        (GROUPS, 1.5, "1 or 2 or 4"),
        (GROUPS, float("inf"), "1 or 2 or 4"),
        (STRIDE, "2x2", "3x3 or 1x1"),
        (NORM, "maybe", "true or false"),
        (Option(name="growth", default=12, low=1, high=48), 49, "a whole number at least 1 and at most 48"),
    ],
)
def test_what_is_not_allowed_is_refused_and_what_is_gets_named(option: Option, given: object, allowed: str) -> None:
    with pytest.raises(BadInput) as caught:
        option.read(given)
    assert caught.value.expected == allowed
    assert caught.value.got == str(given)
    assert caught.value.message.startswith(option.name)


def test_labels_shape_the_name() -> None:
    assert [GROUPS.written(4), NORM.written(True), WIDTH.written(1.0)] == ["g4", "bn", "1.0"]


@given(st.floats(min_value=0.03125, max_value=1e6))
def test_a_written_width_reads_back(width: float) -> None:
    assert WIDTH.read(WIDTH.written(width)) == width
