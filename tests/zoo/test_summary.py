"""Lines of the list: which are chosen, in which order, and which published accuracy stands for a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgecnn.errors import UnknownName
from edgecnn.zoo import find, make_form
from edgecnn.zoo.pages.summary import Summary, describe, select, summarise

LINE = summarise(find("resnet50"))


def line(name: str, **values: object) -> Summary:
    return replace(LINE, network=name, **values)  # type: ignore[arg-type]


LINES = (
    line("a", params=5_000_000, macs=300, family="ResNet", bundled="a_32", top1=0.7, bundled_params=90, bundled_macs=9),
    line("b", params=1_000, macs=None, family="VGG", bundled=None, top1=None),
    line("c", params=None, macs=100, family="ResNet", bundled=None, top1=0.8),
)


def names(**asked: object) -> list[str]:
    return [row.network for row in select(LINES, **asked)]  # type: ignore[arg-type]


def test_nothing_asked_leaves_all_as_they_are() -> None:
    assert names() == ["a", "b", "c"]
    assert names(reverse=True) == ["c", "b", "a"]


def test_limits_leave_out_what_is_above_and_what_is_unknown() -> None:
    assert names(max_params=5_000_000) == ["a", "b"]
    assert names(max_params=4_999_999) == ["b"]
    assert names(max_macs=300) == ["a", "c"]
    assert names(trained=True) == ["a"]


def test_with_trained_limits_and_order_are_those_of_the_bundled_forms() -> None:
    assert names(trained=True, max_params=90, max_macs=9) == ["a"]
    assert names(trained=True, max_params=89) == names(trained=True, max_macs=8) == []
    lines = [
        line(name, params=params, bundled=name, bundled_params=trained, bundled_top1=trained / 100)
        for name, params, trained in (("x", 1, 30), ("y", 2, 20), ("z", 3, 10))
    ]
    assert [row.network for row in select(lines, trained=True, sort="params")] == ["z", "y", "x"]
    assert [row.network for row in select(lines, trained=True, sort="top1")] == ["z", "y", "x"]
    assert [row.network for row in select(lines, sort="params")] == ["x", "y", "z"]


def test_families_are_found_however_they_are_written() -> None:
    assert names(families=("resnet",)) == ["a", "c"]
    assert names(families=("VGG", "RES-NET")) == ["a", "b", "c"]
    with pytest.raises(UnknownName, match="unknown family 'resnt'") as caught:
        names(families=("resnt",))
    assert caught.value.suggestion == "ResNet"


def test_sorting_puts_unknown_last_both_ways() -> None:
    assert names(sort="macs") == ["c", "a", "b"]
    assert names(sort="macs", reverse=True) == ["a", "c", "b"]
    assert names(sort="params") == ["b", "a", "c"]
    assert names(sort="top1", reverse=True) == ["c", "a", "b"]
    assert names(sort="name", reverse=True) == ["c", "b", "a"]


def test_another_forms_accuracy_stands_in_and_is_named() -> None:
    network = find("mobilenet_v1")
    plain = summarise(network)
    assert plain.accuracy_form == "mobilenet_v1"
    others = tuple(row for row in network.published if row.form != make_form(network))
    stand_in = summarise(replace(network, published=others))
    assert stand_in.accuracy_form == others[0].form.title != "mobilenet_v1"
    assert stand_in.top1 == others[0].top1
    without = summarise(replace(network, published=()))
    assert (without.accuracy_form, without.top1, without.accuracy_source) == (None, None, "")


def test_a_page_without_layers_has_only_what_needs_none() -> None:
    page = describe(find("mobilenet_v1"), make_form("mobilenet_v1"))
    assert (page.layers, page.stages, page.grid, page.family_table, page.branches) == (None,) * 5
    computed = {row.quantity: row.computed for row in page.statements}
    assert computed["MACs"] == 568_740_352
    assert computed["share of the MACs in pointwise convolutions"] is None
    full = describe(find("mobilenet_v1"), make_form("mobilenet_v1"), with_layers=True)
    shares = {row.quantity: row.computed for row in full.statements}
    assert shares["share of the MACs in pointwise convolutions"] == pytest.approx(0.9486, abs=5e-5)
    assert full.grid is not None and full.stages is not None


def test_published_accuracy_is_sorted_data_set_by_data_set() -> None:
    rows = [
        line("a", dataset="imagenet-1k", top1=0.7),
        line("b", dataset="cifar-10", top1=0.9),
        line("c", dataset="imagenet-1k", top1=0.8),
        line("d", dataset="cifar-10", top1=0.5),
    ]
    assert [row.network for row in select(rows, sort="top1")] == ["d", "b", "a", "c"]
    assert [row.network for row in select(rows, sort="top1", reverse=True)] == ["b", "d", "c", "a"]
