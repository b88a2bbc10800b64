"""Which variants get files of fewer bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import Contradiction, UsageError
from edgecnn.tune.shortlist import MOST_GAIN, shortlisted
from edgecnn.tune.variants import MOST_FORMS, spread, variant_forms

TIMES = {"a": 40e6, "b": 20e6, "c": 10e6, "d": 5e6, "e": 2e6, "f": 1e6}
MACS = {"a": 400, "b": 200, "c": 100, "d": 50, "e": 20, "f": 10}


def test_the_largest_that_may_fit_and_one_that_does() -> None:
    assert shortlisted(TIMES, MACS, limit_ns=None) == ["a", "b", "c", "d"]
    assert shortlisted(TIMES, MACS, limit_ns=10e6) == ["a", "b", "c", "d"]
    assert shortlisted(TIMES, MACS, limit_ns=2e6) == ["d", "e", "f"]
    assert shortlisted(TIMES, MACS, limit_ns=4e6, most=2) == ["c", "e"]
    assert shortlisted(TIMES, MACS, limit_ns=0.1e6) == ["f"]
    assert shortlisted({}, {}, limit_ns=1.0) == []


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(1e3, 1e9), min_size=1, max_size=8), st.floats(1e3, 1e9)
)
def test_nothing_that_could_hold_the_limit_as_the_largest_is_lost(times: dict[str, float], limit: float) -> None:
    macs = {name: round(time) for name, time in times.items()}
    taken = shortlisted(times, macs, limit_ns=limit)
    possible = [name for name in times if times[name] <= MOST_GAIN * limit]
    assert len(taken) == len(set(taken))
    if possible:
        assert max(possible, key=lambda name: macs[name]) in taken
    holding = [name for name in times if times[name] <= limit]
    if holding:
        assert any(times[name] <= limit for name in taken)


def test_the_variants_of_a_family_are_the_published_ones() -> None:
    forms = variant_forms("mobilenet", "random")
    assert {(form.options["width"], form.input_size) for form in forms} == {
        (width, size) for width in (0.25, 0.5, 0.75, 1.0) for size in (128, 160, 192, 224)
    }
    assert {form.options["activation"] for form in forms} == {"relu"}
    assert (forms[0].options["width"], forms[0].input_size) == (1.0, 224)
    few = spread(forms)
    assert len(few) == MOST_FORMS
    assert (few[0].title, few[-1].title) == ("mobilenet_v1", "mobilenet_v1_0.25_128")
    assert spread(few) == few


def test_variants_by_hand() -> None:
    forms = variant_forms("mobilenet_v2", "random", widths=(0.5, 1.0), input_sizes=(96,))
    assert [(form.options["width"], form.input_size) for form in forms] == [(1.0, 96), (0.5, 96)]
    assert [form.title for form in variant_forms("resnet18", "random", input_sizes=(64, 128))] == [
        "resnet18_128", "resnet18_64",
    ]  # fmt: skip


def test_trained_weights_have_one_variant() -> None:
    assert [form.title for form in variant_forms("mobilenet", None)] == ["mobilenet_v1_0.25_32"]
    with pytest.raises(Contradiction, match="one width"):
        variant_forms("mobilenet", "bundled", widths=(0.5,))
    with pytest.raises(Contradiction, match="random weights alone"):
        variant_forms("mobilenet", "imagenet")
    with pytest.raises(Contradiction, match="no width"):
        variant_forms("resnet18", "random", widths=(0.5,))
    with pytest.raises(UsageError):
        variant_forms("vgg16", None)
