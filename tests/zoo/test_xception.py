"""Xception: the paper's flows, its blocks against plain formulas, the small-image form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edgecnn.errors import BadInput
from edgecnn.zoo import layer_table, make_form
from edgecnn.zoo.families.xception import Block, SeparableConv2d, Xception, xception
from edgecnn.zoo.layers import layers_of


def small(**options: float) -> Xception:
    torch.manual_seed(0)
    return xception(width=0.0625, classes=10, in_channels=1, input_size=32, **options)


def test_the_three_flows_are_those_of_figure_5() -> None:
    rows = layers_of(make_form("xception"))
    shapes = {row.name: row.output_shape for row in rows}
    assert shapes["conv1"] == (32, 149, 149)
    assert shapes["conv2"] == (64, 147, 147)
    assert shapes["block1.add"] == (128, 74, 74)
    assert shapes["block2.add"] == (256, 37, 37)
    assert {shapes[f"block{number}.add"] for number in range(3, 12)} == {(728, 19, 19)}
    assert shapes["block12.rep.1.pointwise"] == (728, 19, 19)
    assert shapes["block12.add"] == (1024, 10, 10)
    assert (shapes["conv3.pointwise"], shapes["conv4.pointwise"]) == ((1536, 10, 10), (2048, 10, 10))
    # "36 convolutional layers": two plain ones and the separable ones; four linear shortcuts beside.
    assert sum(row.kind == "depthwise" for row in rows) == 34
    assert [row.name for row in rows if row.name.endswith(".skip") and row.kind == "conv"] == [
        f"block{number}.skip" for number in (1, 2, 3, 12)
    ]


@pytest.mark.parametrize(
    ("size", "grids"), [(32, (32, 16, 8, 8, 4)), (63, (63, 32, 16, 16, 8)), (64, (29, 15, 8, 4, 2))]
)
def test_small_images_keep_a_quarter_of_their_size_in_the_middle_flow(size: int, grids: tuple[int, ...]) -> None:
    rows = layers_of(make_form("xception", input_size=size, width=0.1, channels=1, classes=10))
    shapes = {row.name: row.output_shape for row in rows}
    names = ("conv2", "block1.add", "block2.add", "block3.add", "block12.add")
    assert tuple(shapes[name][1] for name in names) == grids
    assert shapes["block11.add"][1] == grids[3]


def test_a_narrowed_form_keeps_sixteen_channels() -> None:
    with torch.device("meta"):
        rows = layer_table(xception(width=0.1, input_size=32), (3, 32, 32))
    channels = {row.name: row.output_shape[0] for row in rows}
    names = ("conv1", "conv2", "block1.add", "block2.add", "block3.add", "block12.add", "conv3.pointwise")
    assert [channels[name] for name in names] == [16, 16, 16, 24, 72, 104, 152]
    assert channels["conv4.pointwise"] == 208


def test_a_separable_convolution_is_a_sum_per_channel_and_a_sum_over_channels() -> None:
    torch.manual_seed(0)
    layer = SeparableConv2d(3, 5)
    x = torch.randn(2, 3, 6, 7)
    padded = F.pad(x, (1, 1, 1, 1))
    spatial = torch.zeros_like(x)
    for row in range(3):
        for column in range(3):
            weight = layer.conv1.weight[:, 0, row, column].view(1, 3, 1, 1)
            spatial += weight * padded[:, :, row : row + 6, column : column + 7]
    expected = torch.einsum("oc,nchw->nohw", layer.pointwise.weight[:, :, 0, 0], spatial)
    torch.testing.assert_close(layer(x), expected)


def test_a_block_without_stride_adds_its_unchanged_input() -> None:
    torch.manual_seed(0)
    block = Block(4, (4, 4, 4)).eval()
    x = torch.randn(2, 4, 5, 5)
    before = x.clone()
    expected = before
    for index in (1, 4, 7):
        expected = block.rep[index](torch.relu(expected)) / (1 + block.rep[index + 1].eps) ** 0.5
    with torch.inference_mode():
        out = block(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(out, before + expected)
    assert torch.equal(block.skip(x), x)


def test_a_block_with_stride_pools_and_projects() -> None:
    torch.manual_seed(0)
    block = Block(4, (6, 8), 2, relu_first=False).eval()
    x = torch.randn(2, 4, 7, 7)
    scale = (1 + 1e-5) ** -0.5
    main = block.rep[3](torch.relu(block.rep[0](x) * scale)) * scale
    side = F.conv2d(x, block.skip.weight, stride=2) * scale
    torch.testing.assert_close(block(x), F.max_pool2d(main, 3, 2, 1) + side)
    assert block(x).shape == (2, 8, 4, 4)


def test_dropout_is_for_training_only() -> None:
    plain, dropping = small(), small(dropout=0.5)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    x = torch.randn(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(x), dropping.eval()(x))
        head = dropping.train().dropout
        kept = head(torch.ones(100_000))
    assert kept.unique().tolist() == [0.0, 2.0]
    assert float(kept.mean()) == pytest.approx(1, abs=0.02)


def test_a_width_without_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width must be at least 0\.03125"):
        xception(width=0.03)
    with pytest.raises(BadInput, match=r"at least 0\.03125"):
        make_form("xception", width=0.03)


def test_weights_are_named_as_in_timm() -> None:
    with torch.device("meta"):
        state = xception().state_dict()
    assert state["block1.rep.0.conv1.weight"].shape == (64, 1, 3, 3)
    assert state["block2.rep.1.pointwise.weight"].shape == (256, 128, 1, 1)
    assert state["block12.rep.4.pointwise.weight"].shape == (1024, 728, 1, 1)
    assert state["block12.skipbn.running_var"].shape == (1024,)
    assert state["conv4.pointwise.weight"].shape == (2048, 1536, 1, 1)
    assert state["fc.weight"].shape == (1000, 2048)
    assert not any(name.startswith(("block4.skip", "blocks", "dropout")) for name in state)
