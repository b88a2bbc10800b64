"""Drawings: blocks and edges are those of the network, and the SVG is well-formed, escaped and always the same."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgecnn.errors import UnavailableError
from edgecnn.zoo import make_form
from edgecnn.zoo.layers import layers_of
from edgecnn.zoo.pages.drawing import drawing, write_drawing
from edgecnn.zoo.pages.flow import Box, FlowBlock, flow_of
from edgecnn.zoo.pages.ranks import ranks_of

_SVG = "{http://www.w3.org/2000/svg}"


def flow(network: str, **options: object) -> tuple[FlowBlock, ...]:
    form = make_form(network, **options)  # type: ignore[arg-type]
    return flow_of(layers_of(form), form.input_shape)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{_SVG}text")]


def test_resnet50_folds_its_identity_blocks() -> None:
    blocks = flow("resnet50")
    assert [block.count for block in blocks] == [1, 1, 1, 1, 2, 1, 3, 1, 5, 1, 2, 1, 1]
    assert [block.sources for block in blocks] == [(), *((index,) for index in range(12))]
    projection, identity = blocks[3], blocks[4]
    assert [box.lines for box in projection.boxes] == [("1x1 64", "3x3 64", "1x1 256"), ("1x1 256",), ("+",)]
    assert projection.boxes[2].inside == (0, 1)
    assert [box.lines for box in identity.boxes] == [("1x1 64", "3x3 64", "1x1 256"), ("+",)]
    assert (identity.boxes[1].inside, identity.boxes[1].outside) == ((0,), (3,))
    assert blocks[5].boxes[0].lines == ("1x1 128", "3x3 128 /2", "1x1 512")


def test_googlenet_has_four_branches_in_nine_modules() -> None:
    modules = [block for block in flow("googlenet") if block.name.startswith("inception")]
    assert len(modules) == 9
    assert [box.lines for box in modules[0].boxes] == [
        ("1x1 64",),
        ("1x1 96", "3x3 128"),
        ("1x1 16", "5x5 32"),
        ("max pool 3x3", "1x1 32"),
        ("concat",),
    ]
    assert modules[0].boxes[4].inside == (0, 1, 2, 3)


@pytest.mark.slow
def test_a_dense_block_folds_although_it_grows() -> None:
    counts = [block.count for block in flow("densenet121") if "denseblock" in block.name]
    assert counts == [6, 12, 24, 16]


@pytest.mark.slow
def test_nasnet_cells_read_the_two_before_them() -> None:
    blocks = flow("nasnet_a_mobile")
    cells = {block.name: block for block in blocks}
    folded = cells["cell_1 .. cell_3"]
    assert (folded.count, folded.reads) == (3, "each reads the 2 before it")
    index = blocks.index(folded)
    assert folded.sources == (index - 2, index - 1)


def test_a_gate_is_a_branch_that_multiplies() -> None:
    block = next(block for block in flow("seresnet50") if block.name.startswith("layer1.1"))
    gate = next(index for index, box in enumerate(block.boxes) if box.lines == ("×",))
    assert len(block.boxes[gate].inside) == 2
    assert ("global average pool", "1x1 16", "1x1 256") in [box.lines for box in block.boxes]


@pytest.mark.slow
def test_boxes_of_a_block_never_overlap_and_stand_below_what_they_read() -> None:
    for block in flow("nasnet_a_mobile"):
        places = ranks_of(block.boxes).places
        for index, (box, place) in enumerate(zip(block.boxes, places, strict=True)):
            assert all(places[source].y + places[source].height < place.y for source in box.inside)
            for other in places[:index]:
                apart = abs(place.x - other.x) >= (place.width + other.width) / 2 - 0.01
                assert apart or place.y >= other.y + other.height or other.y >= place.y + place.height


@pytest.mark.parametrize(
    "network",
    [
        *("resnet50", "googlenet", "vgg16", "lenet5"),
        *(pytest.param(network, marks=pytest.mark.slow) for network in ("densenet121", "nasnet_a_mobile")),
    ],
)
def test_the_drawing_is_well_formed_and_has_every_box_inside_its_page(network: str) -> None:
    blocks = flow(network)
    svg = drawing(blocks, title=network)
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [node for node in root.iter(f"{_SVG}rect") if "class" in node.attrib]
    assert len(boxes) == len(blocks) + sum(len(block.boxes) for block in blocks)
    for node in boxes:
        assert 0 <= float(node.attrib["x"]) <= width - float(node.attrib["width"])
        assert 0 <= float(node.attrib["y"]) <= height - float(node.attrib["height"])
    written = texts(svg)
    assert all(line in written for block in blocks for box in block.boxes for line in box.lines)
    assert [text for text in written if text.startswith("× ")] == [
        f"× {block.count}" for block in blocks if block.count > 1
    ]


def test_edges_that_pass_a_block_run_in_lanes_of_their_own() -> None:
    box = Box(lines=("1x1 8",), joins=False, output_shape=(8, 4, 4))
    blocks = [
        FlowBlock(name="input", output_shape=(3, 4, 4), boxes=(box,)),
        FlowBlock(
            name="a",
            output_shape=(8, 4, 4),
            boxes=(Box(lines=("1x1 8",), joins=False, output_shape=(8, 4, 4), outside=(0,)),),
        ),
        FlowBlock(
            name="b",
            output_shape=(8, 4, 4),
            boxes=(Box(lines=("+",), joins=True, output_shape=(8, 4, 4), outside=(0, 1)),),
        ),
        FlowBlock(
            name="c",
            output_shape=(8, 4, 4),
            boxes=(Box(lines=("+",), joins=True, output_shape=(8, 4, 4), outside=(0, 2)),),
        ),
    ]
    lanes = re.findall(r" H([\d.]+) q8 0", drawing(blocks, title="t"))
    assert len(lanes) == len(set(lanes)) == 2


def test_the_same_network_gives_the_same_text_and_titles_are_escaped() -> None:
    first, second = (drawing(flow("squeezenet1_1"), title='<a & "b">', subtitle="x < y") for _ in range(2))
    assert first == second
    assert texts(first)[:2] == ['<a & "b">', "x < y"]


def test_a_drawing_is_written_in_one_step(tmp_path: Path) -> None:
    blocks = flow("lenet5")
    path = tmp_path / "new" / "lenet5.svg"
    write_drawing(path, blocks, title="LeNet-5")
    assert path.read_text(encoding="utf-8") == drawing(blocks, title="LeNet-5")
    assert [file.name for file in path.parent.iterdir()] == ["lenet5.svg"]
    with pytest.raises(UnavailableError, match="cannot write"):
        write_drawing(path / "below_a_file.svg", blocks, title="LeNet-5")
    assert [file.name for file in path.parent.iterdir()] == ["lenet5.svg"]


def test_a_shuffle_and_a_mean_of_columns_are_drawn_as_such() -> None:
    unit = next(block for block in flow("shufflenet_v1") if block.name.startswith("stage3.1"))
    assert any("shuffle" in box.lines for box in unit.boxes)
    joins = [box.lines for block in flow("fractalnet_cifar") for box in block.boxes if box.joins]
    assert joins
    assert {*joins} == {("mean",)}
    assert not any("shuffle" in box.lines for block in flow("resnet50") for box in block.boxes)
