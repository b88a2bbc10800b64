"""What a server refuses, and with which status."""

from __future__ import annotations

import pytest

from edgecnn.errors import BadInput, DeadlineExceeded, InferenceError, Overloaded, UnknownName
from edgecnn.images import NoImage, TooManyPixels
from edgecnn.serve.limits import InFlight, Limits, Problem, problem_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("x"), 400),
        (TooManyPixels("x"), 413),
        (NoImage("x"), 415),
        (UnknownName("x", "y", ["z"]), 400),
        (Overloaded("x"), 503),
        (DeadlineExceeded("x"), 504),
        (InferenceError("x"), 500),
        (Problem(413, "x"), 413),
    ],
)
def test_errors_have_a_status(error: Exception, status: int) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert problem.status == status
    assert ("retry-after" in problem.headers) == (status == 503)


def test_a_bug_is_no_problem_of_the_sender() -> None:
    assert problem_of(KeyError("x")) is None


@pytest.mark.parametrize("name", ["body_bytes", "pixels", "in_flight", "deadline_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_number_above_0(name: str, value: float) -> None:
    with pytest.raises(BadInput, match=f"{name}: expected a number above 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_too_many_in_flight_are_told_to_come_again() -> None:
    counter = InFlight(2)
    with counter, counter:
        assert counter.now == 2
        with pytest.raises(Problem) as caught, counter:
            pass
        assert caught.value.status == 503
        assert caught.value.headers["retry-after"] == "1"
    assert counter.now == 0
