"""BN-Inception: the stages of figure 5, its two kinds of block, odd sizes, names of the weights."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from edgecnn.zoo import find, make_form
from edgecnn.zoo.checkpoints import translate
from edgecnn.zoo.families.inception_v2 import HalvingPool, inception_v2
from edgecnn.zoo.layers import layers_of, totals


def test_the_stages_of_figure_5() -> None:
    rows = layers_of(make_form("inception_v2"))
    assert [layer.output_shape for layer in rows if layer.kind == "concat"] == [
        *((256, 28, 28), (320, 28, 28), (576, 14, 14)),
        *((576, 14, 14), (576, 14, 14), (608, 14, 14), (608, 14, 14), (1056, 7, 7)),
        *((1024, 7, 7), (1024, 7, 7)),
    ]
    assert (totals(rows).params, totals(rows).macs) == (11_295_240, 2_032_600_064)


def test_two_blocks_stride_and_the_last_one_pools_maxima() -> None:
    rows = layers_of(make_form("inception_v2", width=0.125))
    strided = [layer.name for layer in rows if layer.kind == "conv" and layer.stride == (2, 2)]
    assert strided == [
        "conv1.conv",
        "inception3c.branch1.1.conv",
        "inception3c.branch2.2.conv",
        "inception4e.branch1.1.conv",
        "inception4e.branch2.2.conv",
    ]
    pools = {layer.name: layer.kind for layer in rows if layer.kind in ("max pool", "average pool")}
    blocks = {re.sub(r"\..*", "", name): kind for name, kind in pools.items() if name.startswith("inception")}
    assert {name for name, kind in blocks.items() if kind == "max pool"} == {
        "inception3c",
        "inception4e",
        "inception5b",
    }
    assert len(blocks) == 10


@pytest.mark.parametrize("size", [(6, 6), (7, 7), (5, 8), (1, 1), (2, 3)])
def test_the_pooling_of_a_block_is_as_large_as_a_convolution_with_stride_2(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, *size)
    out = HalvingPool()(x)
    assert out.shape == nn.Conv2d(3, 3, 3, stride=2, padding=1)(x).shape
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            window = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(out[:, :, row, column], window.amax((2, 3)))


def test_a_strided_block_passes_its_input_on() -> None:
    torch.manual_seed(0)
    model = inception_v2(width=0.125, input_size=32).eval()
    x = torch.rand(1, 48, 7, 7)
    with torch.inference_mode():
        out = model.get_submodule("inception3c")(x)
        assert torch.equal(out[:, -48:], HalvingPool()(x))
    # 160 and 96 channels at an eighth, rounded to multiples of 8 and not under 90%.
    assert out.shape == (1, 24 + 16 + 48, 4, 4)


def test_the_small_image_form_keeps_16_8_and_4_pixels() -> None:
    rows = layers_of(make_form("inception_v2", width=0.125, input_size=32, classes=10, channels=1))
    assert [layer.output_shape[1] for layer in rows if layer.kind == "concat"] == [16, 16, 8, 8, 8, 8, 8, 4, 4, 4]
    assert (totals(rows).params, totals(rows).macs) == (191_058, 10_339_664)


def test_weights_are_named_as_those_of_googlenet_and_renamed_from_the_release() -> None:
    with torch.device("meta"):
        model = inception_v2()
    keys = set(model.state_dict())
    assert {"conv2.conv.bias", "inception3c.branch2.2.bn.running_mean", "inception5b.branch4.1.conv.weight"} <= keys
    assert {layer.eps for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)} == {1e-5}
    (rule,) = find("inception_v2").checkpoints
    names = {
        "features.init_block.conv2.conv2.bn.weight": "conv3.bn.weight",
        "features.stage1.unit1.branches.branch1.conv.bias": "inception3a.branch1.conv.bias",
        "features.stage2.unit1.branches.branch2.conv3.conv.weight": "inception3c.branch2.2.conv.weight",
        "features.stage3.unit3.branches.branch4.conv.bn.bias": "inception5b.branch4.1.bn.bias",
        "output.weight": "fc.weight",
    }
    assert list(translate(rule, dict.fromkeys(names, 0))) == list(names.values())
    assert set(names.values()) <= keys


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"width": 0.1}, "width must be at least 0.125"), ({"input_size": 1}, "at least 2 pixels")],
)
def test_impossible_forms_are_refused_with_what_is_allowed(options: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        inception_v2(**options)  # type: ignore[arg-type]
