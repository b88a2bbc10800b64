"""The forms of the networks: the rule of names, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.errors import BadInput, Contradiction, UnknownName
from edgecnn.zoo import Form, Network, Option, Paper, find, make_form, networks
from edgecnn.zoo.forms import form_of

WIDTHS = (0.25, 0.5, 0.75, 1.0)


def grouped() -> Network:
    """Return a network with three options, none of which the zoo's own have together."""
    return Network(
        name="grouped",
        family="Test",
        title="Grouped",
        paper=Paper(title="None", authors="Nobody", year=2000, venue="nowhere"),
        builder="nowhere:nothing",
        options=(
            Option(name="groups", default=1, choices=(1, 2, 3), label="g{}"),
            Option(name="width", default=1.0),
            Option(name="norm", default=False, label="bn"),
        ),
        dataset="imagenet-1k",
        preprocess=find("resnet50").preprocess,
        classes=1000,
    )


@pytest.mark.parametrize(
    ("network", "changes", "title"),
    [
        ("mobilenet_v1", {}, "mobilenet_v1"),
        ("mobilenet", {"width": 1.0, "input_size": 224}, "mobilenet_v1"),
        ("mobilenet_v1", {"width": 0.25}, "mobilenet_v1_0.25_224"),
        ("mobilenet_v1", {"width": "0.25", "input_size": 32}, "mobilenet_v1_0.25_32"),
        ("mobilenet_v1", {"input_size": 192}, "mobilenet_v1_1.0_192"),
        ("squeezenet1_1", {"input_size": 32}, "squeezenet1_1_32"),
        ("resnet50", {"stride_in": "3x3"}, "resnet50"),
        ("resnet50", {"stride_in": "1x1"}, "resnet50_1x1"),
        ("resnet50", {"stride_in": "1x1", "input_size": 160}, "resnet50_160_1x1"),
        ("resnet20", {}, "resnet20"),
        ("resnet20", {"channels": 1, "classes": 7}, "resnet20"),
        ("lenet", {}, "lenet5"),
    ],
)
def test_the_name_spells_out_what_differs_from_the_plain_form(
    network: str, changes: dict[str, object], title: str
) -> None:
    form = make_form(network, **changes)  # type: ignore[arg-type]
    assert form.title == title
    assert title == form.network + ("_" + form.variant if form.variant else "")


def test_width_goes_first_then_the_size_then_the_others_in_their_order() -> None:
    form = form_of(grouped(), input_size=64, options={"norm": True, "groups": "3", "width": 0.5})
    assert form.title == "grouped_0.5_64_g3_bn"
    assert form_of(grouped(), options={"groups": 2}).title == "grouped_g2"


def test_a_form_holds_every_option_and_the_defaults_of_the_paper() -> None:
    assert make_form("mobilenet", width=None, input_size=None) == Form(
        network="mobilenet_v1",
        variant="",
        options={"width": 1.0, "activation": "relu"},
        input_size=224,
        channels=3,
        classes=1000,
    )
    form = make_form("resnet20", channels=1)
    assert (form.input_shape, form.classes) == ((1, 32, 32), 10)


forms = st.tuples(st.sampled_from(WIDTHS), st.integers(32, 300), st.sampled_from((1, 2, 3)), st.booleans())


@given(forms, forms)
def test_two_forms_have_the_same_name_only_if_they_are_the_same(
    one: tuple[float, int, int, bool], other: tuple[float, int, int, bool]
) -> None:
    def title(values: tuple[float, int, int, bool]) -> str:
        width, size, groups, norm = values
        return form_of(grouped(), input_size=size, options={"width": width, "groups": groups, "norm": norm}).title

    assert (title(one) == title(other)) is (one == other)


@pytest.mark.parametrize(
    ("network", "changes", "expected", "got"),
    [
        ("mobilenet", {"width": 0}, "a number at least 0.03125", "0"),
        ("mobilenet", {"input_size": 0}, "at least 1 pixels", "0"),
        ("squeezenet", {"input_size": 16}, "at least 17 pixels", "16"),
        ("lenet", {"input_size": 28}, "32 pixels", "28"),
        ("resnet101", {"stride_in": "2x2"}, "3x3 or 1x1", "2x2"),
        ("resnet18", {"channels": 4}, "1 (grayscale) or 3 (RGB)", "4"),
        ("resnet18", {"classes": 0}, "at least 1", "0"),
    ],
)
def test_impossible_forms_name_what_is_possible(
    network: str, changes: dict[str, object], expected: str, got: str
) -> None:
    with pytest.raises(BadInput) as caught:
        make_form(network, **changes)  # type: ignore[arg-type]
    assert (caught.value.expected, caught.value.got) == (expected, got)


def test_a_width_for_a_network_without_one_names_those_that_have_one() -> None:
    with pytest.raises(Contradiction) as caught:
        make_form("resnet50", width=0.5)
    assert "resnet50 has no width" in caught.value.message
    assert "mobilenet_v1" in caught.value.hint


def test_a_basic_block_has_no_stride_to_place() -> None:
    with pytest.raises(Contradiction) as caught:
        make_form("resnet18", stride_in="1x1")
    assert "resnet50, resnet101, resnet152" in caught.value.hint


def test_an_option_that_nobody_has_is_unknown() -> None:
    with pytest.raises(UnknownName) as caught:
        make_form("mobilenet", widht=0.5)
    assert caught.value.suggestion == "width"


def test_preprocessing_follows_the_form() -> None:
    network = find("mobilenet")
    spec = network.preprocess_for(make_form(network, input_size=160))
    assert (spec.size, spec.crop_fraction, spec.mean) == ((160, 160), 0.875, (0.485, 0.456, 0.406))
    gray = network.preprocess_for(make_form(network, channels=1))
    # 0.299 R + 0.587 G + 0.114 B of (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225)
    assert gray.channels == 1
    assert gray.mean == pytest.approx((0.458971,), abs=1e-6)
    assert gray.std == pytest.approx((0.225609,), abs=1e-6)
    colour = find("lenet").preprocess_for(make_form("lenet", channels=3))
    assert (colour.mean, colour.std) == ((0.1307,) * 3, (0.3081,) * 3)


def test_every_plain_form_is_named_as_its_network() -> None:
    assert [make_form(network).title for network in networks()] == [network.name for network in networks()]
