from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgecnn.exporters.passes import DEFAULT_PASSES
from edgecnn.exporters.passes.catalog import BYTE_PASSES, HEAD_PASSES, INT8_NAMES, INT8_PASSES, PASSES, PIXEL_PASSES

PAGE = Path(__file__).parents[3] / "docs" / "passes.md"
PARTS = {
    "Every file": tuple(dict.fromkeys(step.name for step in DEFAULT_PASSES)),
    "Before int8": INT8_NAMES,
    "Between quantizers": tuple(step.name for step in BYTE_PASSES),
    "From pixels": tuple(step.name for step in PIXEL_PASSES),
    "When asked for": tuple(step.name for step in HEAD_PASSES),
}


def test_every_pass_has_a_name_of_its_own() -> None:
    groups = (DEFAULT_PASSES, INT8_PASSES, BYTE_PASSES, PIXEL_PASSES, HEAD_PASSES)
    steps = {type(step) for group in groups for step in group}
    assert len(PASSES) == len(steps)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in PASSES)


@pytest.mark.parametrize("heading", PARTS)
def test_the_page_lists_the_passes_in_their_order(heading: str) -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    section = rest.partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.M)) == PARTS[heading]
