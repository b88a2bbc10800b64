"""What a page calls its sources."""

from __future__ import annotations

import re

import pytest

from edgecnn.zoo import find, networks
from edgecnn.zoo.network import Paper
from edgecnn.zoo.pages.sources import citation, source_text, with_sources

PAPER = Paper(title="Deep", authors="Doe et al.", year=2012, venue="NIPS 2012")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("paper Table 2", "Doe et al. 2012, table 2"),
        ("paper Tables 1-2", "Doe et al. 2012, tables 1-2"),
        ("(paper)", "Doe et al. 2012"),
        ("paper: 60M", "Doe et al. 2012: 60M"),
        ("DenseNet paper Table 2", "DenseNet paper table 2"),
        (
            "derived: layer by layer (method held to others); paper Table 8",
            "counted layer by layer; Doe et al. 2012, table 8",
        ),
        ("derived: layer by layer; derived", "counted layer by layer"),
        ("derived (dense)", "counted (dense)"),
        ("osmr same count", "osmr/imgclsmob same count"),
        ("osmr/imgclsmob README", "osmr/imgclsmob README"),
        ("torchvision 0.29.2 weights metadata", "torchvision 0.29.2 weights metadata"),
        ("", ""),
    ],
)
def test_a_source_names_its_paper(source: str, text: str) -> None:
    assert source_text(source, PAPER) == text


@pytest.mark.parametrize(
    ("year", "venue", "end"),
    [
        (2012, "NIPS 2012", "NIPS 2012"),
        (1998, "Proceedings of the IEEE 86(11)", "Proceedings of the IEEE 86(11), 1998"),
        (2019, "arXiv 1905.11946", "arXiv 1905.11946, 2019"),
        (2017, "CVPR 2018, arXiv 1707.01083", "CVPR 2018, arXiv 1707.01083, first published 2017"),
    ],
)
def test_a_citation_has_its_year_once(year: int, venue: str, end: str) -> None:
    paper = Paper(title="Deep", authors="Doe et al.", year=year, venue=venue)
    assert citation(paper) == f'Doe et al., "Deep", {end}'


def test_no_row_of_the_zoo_leaves_its_paper_or_source_open() -> None:
    for network in networks():
        for row in (with_sources(row, network.paper) for row in network.published):
            for text in (row.params_source, row.macs_source, row.accuracy_source, row.other_source):
                assert not re.match(r"(\(?paper\b|derived|same$|osmr\b(?!/))", text), (row.id, text)
            assert not re.match(r"paper,? (?!/)", row.protocol), row.id


def test_same_is_the_source_that_was_named_before() -> None:
    network = find("mobilenet_v3_large")
    row = next(row for row in network.published if row.accuracy_source == "same")
    assert with_sources(row, network.paper).accuracy_source == with_sources(row, network.paper).params_source != "same"
