"""Options of a network: what they take, what they refuse, how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput, UnknownName
from edgecnn.zoo import Option, find, networks
from edgecnn.zoo.options import TrainingOption
from edgecnn.zoo.pages.summary import summarise

WIDTH = Option(name="width", default=1.0, low=0.03125)
GROUPS = Option(name="groups", default=1, choices=(1, 2, 4), label="g{}")
STRIDE = Option(name="stride_in", default="3x3", choices=("3x3", "1x1"))
NORM = Option(name="batch_norm", default=False, label="bn")

SHARE = TrainingOption(low=0, high=1, help="share")
RISK = TrainingOption(low=0, below=1, help="probability")
HEADS = TrainingOption(switch=True, help="heads")


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


@pytest.mark.parametrize(
    ("option", "value"), [(SHARE, 0), (SHARE, 1), (SHARE, 0.5), (RISK, 0.999), (HEADS, True), (HEADS, False)]
)
def test_what_acts_in_training_keeps_its_value(option: TrainingOption, value: float | bool) -> None:
    read = option.read("p", value)
    assert read == value
    assert type(read) is (bool if option.switch else float)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (SHARE, True, "p: expected a number at least 0 and at most 1, got true"),
        (SHARE, "0.5", "p: expected a number at least 0 and at most 1, got '0.5'"),
        (SHARE, float("nan"), "p: expected a number at least 0 and at most 1, got nan"),
        (SHARE, 1.5, "p: expected a number at least 0 and at most 1, got 1.5"),
        (SHARE, -1e-9, "p: expected a number at least 0 and at most 1, got -1e-09"),
        (SHARE, None, "p: expected a number at least 0 and at most 1, got None"),
        (RISK, 1.0, "p: expected a number at least 0 and below 1, got 1.0"),
        (RISK, float("nan"), "p: expected a number at least 0 and below 1, got nan"),
        (HEADS, 1, "p: expected true or false, got 1"),
        (HEADS, "true", "p: expected true or false, got 'true'"),
    ],
)
def test_what_training_cannot_take_is_refused(option: TrainingOption, value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        option.read("p", value)
    assert caught.value.message == message


def test_a_network_checks_what_acts_in_its_training() -> None:
    network = find("nasnet_a_mobile")
    assert network.training_values({"drop_path": 0, "aux_heads": True}) == {"drop_path": 0.0, "aux_heads": True}
    with pytest.raises(BadInput, match="drop_path: expected a number at least 0 and below 1, got true"):
        network.training_values({"drop_path": True})
    with pytest.raises(UnknownName, match="training option of nasnet_a_mobile 'stochastic_depth'"):
        network.training_values({"stochastic_depth": 0.1})


# The cheapest network of each family, but for NASNet's, which have hundreds of layers; the last of each in the slow tests.
CHEAPEST = {
    network.family: network.name for network in sorted(networks(), key=lambda network: -(summarise(network).macs or 0))
}
LAST = {network.family: network.name for network in networks()}
QUICK = {name for name in CHEAPEST.values() if not name.startswith("nasnet")}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted({*CHEAPEST.values(), *LAST.values()})
    ],
)
def test_the_stated_interval_is_the_builders_own(name: str) -> None:
    """At both ends of every interval a network can be built; `below` stands where the builder itself says no."""
    torch = pytest.importorskip("torch")
    from edgecnn.errors import UsageError
    from edgecnn.zoo import build, make_form

    form = make_form(name)
    with torch.device("meta"):
        for option, allowed in find(name).training_options.items():
            if allowed.switch:
                continue
            greatest = allowed.high if allowed.high is not None else (allowed.below or 0) - 1e-6
            for value in (allowed.low, greatest):
                build(form, training={option: value})
            if allowed.below is not None:
                with pytest.raises(UsageError):
                    build(form, training={option: allowed.below})
