"""The ENet classifier: the encoder's layers, its bottlenecks, and sizes down to the least."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from edgecnn.errors import BadInput  # noqa: E402
from edgecnn.exporters.network import ExportOptions, trace  # noqa: E402
from edgecnn.zoo import build, make_form  # noqa: E402
from edgecnn.zoo.families.enet import Bottleneck, InitialBlock, enet  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def test_the_encoder_is_that_of_table_1() -> None:
    rows = layers_of(make_form("enet"))
    blocks: dict[str, tuple[int, ...]] = {}
    for row in rows:
        if row.kind == "prelu" or row.name.endswith("prelu"):
            blocks[row.name.rpartition(".")[0]] = row.output_shape
    assert list(blocks.values()) == [(16, 112, 112), *[(64, 56, 56)] * 5, *[(128, 28, 28)] * 17]
    assert rows[-1].output_shape == (1000,)
    sizes = totals(rows)
    # The encoder's 338,156 and the linear layer's 129,000.
    assert (sizes.params, sizes.macs) == (467_156, 311_206_656)


def test_dilated_and_asymmetric_convolutions_take_turns() -> None:
    with torch.device("meta"):
        model = build(make_form("enet"))
    for stage, first in ((model.stage2, 1), (model.stage3, 0)):
        middles = [block.middle for block in stage][first:]
        kinds = [
            middle.dilation[0] if isinstance(middle, nn.Conv2d) else tuple(part.kernel_size for part in middle)
            for middle in middles
        ]
        asymmetric = ((1, 5), (5, 1))
        assert kinds == [1, 2, asymmetric, 4, 1, 8, asymmetric, 16]
    assert [block.middle.dilation[0] for block in model.stage1] == [1] * 5


def test_the_initial_block_keeps_the_image_beside_the_convolution() -> None:
    x = torch.rand(1, 3, 7, 7)
    block = InitialBlock(3, 16, 2).eval()
    out = block(x)
    assert out.shape == (1, 16, 4, 4)
    pooled = F.max_pool2d(x, 2, ceil_mode=True) / (1 + 1e-3) ** 0.5
    torch.testing.assert_close(out[:, 13:], pooled)
    kept = InitialBlock(1, 16, 1).eval()
    torch.testing.assert_close(kept(x[:, :1])[:, 15:], x[:, :1] / (1 + 1e-3) ** 0.5)


def test_a_bottleneck_adds_to_a_shortcut_without_parameters() -> None:
    block = Bottleneck(8, 12, "dilated", 1, downsample=True, dropout=0.1).eval()
    x = torch.rand(2, 8, 6, 6)
    block.expand.weight.data.zero_()
    out = block(x)
    torch.testing.assert_close(out[:, :8], F.max_pool2d(x, 2))
    assert not out[:, 8:].any()
    same = Bottleneck(12, 12, "asymmetric", 5, downsample=False, dropout=0.1).eval()
    same.expand.weight.data.zero_()
    torch.testing.assert_close(same(x := torch.randn(1, 12, 5, 5)), torch.where(x > 0, x, 0.25 * x))


def test_dropout_takes_whole_channels_and_less_of_them_in_the_first_stage() -> None:
    model = enet(width=0.25, classes=3, input_size=32)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout2d)]
    assert rates == pytest.approx([0.01] * 5 + [0.1] * 17)
    assert {module.p for module in enet(dropout=0.0).modules() if isinstance(module, nn.Dropout2d)} == {0.0}


def test_small_images_keep_their_size_in_the_initial_block() -> None:
    rows = {row.name: row for row in layers_of(make_form("enet", input_size=32, channels=1, classes=10, width=0.5))}
    assert rows["initial.conv"].output_shape == (7, 32, 32)
    assert rows["stage3.7.expand"].output_shape == (64, 8, 8)


def test_what_cannot_be_built_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="at least 4 x 4 pixels"):
        enet(input_size=3)
    with pytest.raises(ValueError, match="width must be above 0"):
        enet(width=0)
    with pytest.raises(BadInput, match=r"at least 0\.125"):
        make_form("enet", width=0.1)


@pytest.mark.slow
def test_prelu_and_dilation_reach_the_file() -> None:
    form = make_form("enet", input_size=8, channels=1, classes=4, width=0.25)
    layers = nn.Sequential(InitialBlock(1, 8, 1), Bottleneck(8, 8, "dilated", 16, downsample=False, dropout=0.1))
    nodes = list(trace(layers.eval(), form, ExportOptions(weights="random")).graph)
    assert sum(node.op_type == "PRelu" for node in nodes) == 4
    assert [16, 16] in [list(node.attributes["dilations"].as_ints()) for node in nodes if node.op_type == "Conv"]
