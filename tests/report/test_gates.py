from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.report.gates import EXAMPLE, Gate, change_text, check, parse_limits, unjudged
from edgecnn.report.rows import QUANTITIES, Row, beyond


def _row(quantity: str = "latency", **values: object) -> Row:
    base = {"network": "net", "precision": "fp32", "batch": 1, "backend": "cpu", "threads": 1, "file": "net.onnx"}
    return Row(quantity=quantity, unit=QUANTITIES[quantity].unit, **{**base, **values})  # type: ignore[arg-type]


def test_the_example_is_read() -> None:
    gates = parse_limits(EXAMPLE)
    assert [(gate.quantity, gate.limit) for gate in gates] == [
        ("latency", pytest.approx(0.03)),
        ("memory", pytest.approx(0.05)),
        ("energy", pytest.approx(0.05)),
        ("top1", pytest.approx(0.3)),
    ]
    assert [gate.text for gate in gates] == EXAMPLE.split(",")
    assert parse_limits(" latency > 3 % ")[0].limit == pytest.approx(0.03)
    assert len(parse_limits("latency>3%,memory>3%,latency>3.0%")) == 2


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("", BadInput, "expected limits such as"),
        ("latency", BadInput, "expected limits such as"),
        ("latency>3%,", BadInput, "expected limits such as"),
        ("latency>3", BadInput, "expected latency>NUMBER%, got latency>3"),
        ("latency<3%", BadInput, "expected latency>NUMBER%"),
        ("top1>0.3", BadInput, "expected top1<NUMBER"),
        ("top1<0.3%", BadInput, "expected top1<NUMBER"),
        ("latency>1.2.3%", BadInput, "expected latency>NUMBER%"),
        ("latency>-3%", BadInput, "expected limits such as"),
        ("latency>1e999%", BadInput, "expected latency>NUMBER%"),
        ("latancy>3%", UnknownName, "unknown quantity 'latancy'"),
        ("latency>3%,latency>5%", Contradiction, "two limits for latency: latency>3% and latency>5%"),
    ],
)
def test_limits_that_make_no_sense(text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        parse_limits(text)


@given(st.sampled_from(sorted(QUANTITIES)), st.floats(0, 1000).map(lambda value: float(f"{value:.6g}")))
def test_limits_survive_being_written(name: str, value: float) -> None:
    quantity = QUANTITIES[name]
    text = f"{name}<{value:g}" if quantity.rises else f"{name}>{value:g}%"
    (gate,) = parse_limits(text)
    assert gate.limit == pytest.approx(value if quantity.rises else value / 100)


@pytest.mark.parametrize(
    ("ratio", "interval", "crossed"),
    [
        (1.05, (1.04, 1.06), True),
        (1.05, (1.01, 1.09), True),
        (1.05, (0.99, 1.11), False),  # chance
        (1.02, (1.01, 1.03), False),  # below the limit
        (0.5, (0.4, 0.6), False),
        (1.05, None, True),  # counted, not sampled
    ],
)
def test_a_limit_is_crossed_beyond_it_and_beyond_chance(
    ratio: float, interval: tuple[float, float] | None, crossed: bool
) -> None:
    row = _row(ratio=ratio, interval=interval, verdict="same")
    found = check([row], parse_limits("latency>3%"))
    assert bool(found) == crossed
    if found:
        assert (found[0].gate, found[0].title) == ("latency>3%", "net fp32 batch 1 on cpu, 1 thread")
        assert found[0].message.startswith("5.0% slower")


def test_exactly_the_limit_is_allowed() -> None:
    assert not check([_row("memory", ratio=1.05, verdict="more")], parse_limits("memory>5%"))
    assert check([_row("memory", ratio=1.0501, verdict="more")], parse_limits("memory>5%"))
    assert not check([_row("top1", points=-0.3, verdict="worse")], parse_limits("top1<0.3"))
    assert check([_row("top1", points=-0.31, verdict="worse")], parse_limits("top1<0.3"))
    assert not check([_row("top1", points=5.0, verdict="better")], parse_limits("top1<0.3"))


def test_a_gate_that_judged_nothing_has_not_held() -> None:
    rows = [_row(why=("device.cpu: a against b",))]
    (found,) = check(rows, parse_limits("latency>3%"))
    assert (found.title, found.message) == ("", "nothing to judge: device.cpu: a against b")
    (found,) = check(rows, parse_limits("energy>3%"))
    assert found.message == "nothing to judge: no record says anything about energy"
    assert check(rows, ()) == ()


def test_one_row_that_cannot_be_compared_does_not_hide_the_others() -> None:
    rows = [_row(why=("x",)), _row(ratio=1.0, interval=(0.99, 1.01), verdict="same")]
    assert check(rows, parse_limits("latency>3%")) == ()


def test_what_broke_crosses_every_limit() -> None:
    rows = [
        _row(why=("new failed: killed",), broken=True, whole=True),
        _row(ratio=1.0, verdict="same"),
        _row("memory", ratio=1.0, verdict="same"),
    ]
    found = check(rows, parse_limits("latency>3%,memory>3%"))
    assert [(one.gate, one.message, one.judged) for one in found] == [
        ("latency>3%", "new failed: killed", False),
        ("memory>3%", "new failed: killed", False),
    ]


def test_what_broke_of_one_quantity_crosses_its_own_limit() -> None:
    rows = [_row(why=("new: invalid measurement",), broken=True), _row("memory", ratio=1.2, verdict="more")]
    found = check(rows, parse_limits("latency>3%,memory>3%,top1<1"))
    assert [(one.gate, one.message, one.judged) for one in found] == [
        ("latency>3%", "new: invalid measurement", False),
        ("memory>3%", "20.0% more", True),
        ("top1<1", "nothing to judge: no record says anything about top1", False),
    ]


def test_what_stands_in_the_way_of_every_quantity_is_the_reason_for_each() -> None:
    rows = [_row(why=("subject.precision: fp32 against int8",), whole=True)]
    (found,) = check(rows, parse_limits("memory>3%"))
    assert found.message == "nothing to judge: subject.precision: fp32 against int8"


@given(st.floats(0.1, 10), st.floats(0, 1))
def test_worse_one_way_is_better_the_other_way(ratio: float, limit: float) -> None:
    assert beyond(_row(ratio=ratio), limit) == -beyond(_row(ratio=1 / ratio), limit)


def test_changes_as_people_read_them() -> None:
    assert change_text(_row(ratio=1.083, interval=(1.071, 1.094))) == "8.3% slower (95% interval +7.1% to +9.4%)"
    assert change_text(_row("memory", ratio=0.9)) == "10.0% less"
    assert change_text(_row("top1", points=-0.31)) == "-0.31 points"
    assert change_text(_row()) == ""
    assert Gate(quantity="latency", limit=0.03, text="latency>3%") in parse_limits("latency>3%")


def test_a_subject_that_is_invalid_on_both_sides_is_named_while_others_are_judged() -> None:
    noisy = {"network": "noisy", "why": ("old: invalid measurement (drift)", "new: invalid measurement (drift)")}
    rows = [
        _row(ratio=1.0, interval=(0.99, 1.01), verdict="same"),
        _row("memory", ratio=1.0, verdict="same"),
        _row(**noisy),
        _row("energy", **noisy),
        _row("memory", network="noisy", ratio=1.0, verdict="same"),
    ]
    gates = parse_limits("latency>3%,memory>3%,energy>3%")
    # energy judged nothing at all: that is a limit crossed, and no subject passed over.
    assert [one.gate for one in check(rows, gates)] == ["energy>3%"]
    (found,) = unjudged(rows, gates)
    assert found.sentence == (
        "not judged by latency>3%: noisy fp32 batch 1 on cpu, 1 thread: old: invalid measurement (drift); "
        "new: invalid measurement (drift)"
    )
    assert unjudged(rows, ()) == ()


def test_a_subject_without_a_partner_is_passed_over_by_every_limit_that_judges_others() -> None:
    rows = [
        _row(ratio=1.0, interval=(0.99, 1.01), verdict="same"),
        _row("memory", ratio=1.0, verdict="same"),
        _row(network="new", why=("no old record of this network",), whole=True),
        _row(network="broken", why=("new failed: killed",), broken=True, whole=True),
    ]
    (found,) = unjudged(rows, parse_limits("latency>3%,memory>3%"))
    assert (found.title, [gate.text for gate in found.gates]) == (rows[2].title, ["latency>3%", "memory>3%"])


def test_a_subject_that_says_nothing_about_a_limits_quantity_is_named() -> None:
    rows = [
        _row(ratio=1.0, interval=(0.99, 1.01), verdict="same"),
        _row("energy", ratio=1.0, interval=(0.9, 1.1), verdict="same"),
        _row(network="unmetered", ratio=1.0, interval=(0.99, 1.01), verdict="same"),
    ]
    (found,) = unjudged(rows, parse_limits("latency>3%,energy>5%"))
    assert (found.title, [gate.text for gate in found.gates]) == (rows[2].title, ["energy>5%"])
    assert found.message == "no record says anything about energy"
