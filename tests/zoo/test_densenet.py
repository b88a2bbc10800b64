"""DenseNet: the layer walk of the paper, the dense layer against a plain formula, names of weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgecnn.zoo import build, find, make_form
from edgecnn.zoo.checkpoints import translate
from edgecnn.zoo.families.densenet import DenseLayer, densenet, densenet_bc
from edgecnn.zoo.layers import Layer, layers_of


def last_of(rows: tuple[Layer, ...], prefix: str) -> tuple[int, ...]:
    """Return the shape that a part of the network gives."""
    return [row.output_shape for row in rows if row.name.startswith(prefix)][-1]


def test_the_stages_are_those_of_table_1() -> None:
    rows = layers_of(make_form("densenet121"))
    assert last_of(rows, "features.conv0") == (64, 112, 112)
    assert last_of(rows, "features.pool0") == (64, 56, 56)
    for index, (channels, size) in enumerate(zip((256, 512, 1024, 1024), (56, 28, 14, 7), strict=True), start=1):
        assert last_of(rows, f"features.denseblock{index}") == (channels, size, size)
        if index < 4:
            assert last_of(rows, f"features.transition{index}") == (channels // 2, size // 2, size // 2)
    # Depth counts convolutions and the linear layer.
    assert sum(row.kind in ("conv", "linear") for row in rows) == 121


@pytest.mark.parametrize(("depth", "growth", "params"), [(100, 12, 769_162), (40, 12, 176_122), (22, 12, 71_686)])
def test_the_small_form_has_three_blocks_at_32_16_and_8(depth: int, growth: int, params: int) -> None:
    rows = layers_of(make_form("densenet", depth=depth, growth=growth))
    assert sum(row.params for row in rows) == params
    assert sum(row.kind in ("conv", "linear") for row in rows) == depth
    assert rows[0].output_shape == (2 * growth, 32, 32)
    channels = 2 * growth
    for block, size in enumerate((32, 16, 8), start=1):
        channels += (depth - 4) // 6 * growth
        assert last_of(rows, f"features.denseblock{block}") == (channels, size, size)
        channels //= 2


@pytest.mark.slow
def test_imagenet_forms_keep_small_images_large() -> None:
    rows = layers_of(make_form("densenet121", input_size=32))
    assert (rows[0].kernel, rows[0].stride, rows[0].output_shape) == ((3, 3), (1, 1), (64, 32, 32))
    assert last_of(rows, "features.denseblock1") == (256, 32, 32)
    assert last_of(rows, "features.denseblock4") == (1024, 4, 4)


def test_a_dense_layer_is_bn_relu_conv_twice_behind_its_input() -> None:
    torch.manual_seed(0)
    layer = DenseLayer(6, 3).eval()
    for norm in (layer.norm1, layer.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    x = torch.randn(2, 6, 5, 5)
    before = x.clone()

    def normed(values: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        shifted = (values - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
        return shifted.clamp(min=0)

    with torch.no_grad():
        out = layer(x)
        inner = F.conv2d(normed(x, layer.norm1), layer.conv1.weight)
        new = F.conv2d(normed(inner, layer.norm2), layer.conv2.weight, padding=1)
    assert inner.shape[1] == 12
    assert torch.equal(x, before)
    assert torch.equal(out[:, :6], x)
    torch.testing.assert_close(out[:, 6:], new)


def test_a_layer_reads_every_earlier_one() -> None:
    torch.manual_seed(0)
    model = densenet_bc(depth=22, in_channels=1)
    read = [model.get_submodule(f"features.denseblock1.denselayer{index}.conv1").weight.shape[1] for index in (1, 2, 3)]
    assert read == [24, 36, 48]
    x = torch.randn(2, 1, 8, 8)
    assert model(x).shape == (2, 10)


def test_weights_are_named_as_in_torchvision_and_old_files_are_renamed() -> None:
    with torch.device("meta"):
        keys = set(build(make_form("densenet121")).state_dict())
    telltales = {
        "features.conv0.weight",
        "features.norm0.running_var",
        "features.denseblock3.denselayer24.norm2.weight",
        "features.transition3.conv.weight",
        "features.norm5.bias",
        "classifier.bias",
    }
    assert telltales <= keys
    assert len(keys) == 727
    for depth in (121, 169, 201):
        (rule,) = find(f"densenet{depth}").checkpoints
        old = {
            "features.norm0.weight": 0,
            "features.denseblock1.denselayer12.norm.1.running_mean": 1,
            "features.denseblock1.denselayer12.conv.2.weight": 2,
            "features.transition1.norm.weight": 3,
        }
        assert translate(rule, old) == {
            "features.norm0.weight": 0,
            "features.denseblock1.denselayer12.norm1.running_mean": 1,
            "features.denseblock1.denselayer12.conv2.weight": 2,
            "features.transition1.norm.weight": 3,
        }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 24}, r"depth must be 6n \+ 4"),
        ({"depth": 4}, r"depth must be 6n \+ 4"),
        ({"growth": 0}, "growth must be at least 1"),
        ({"input_size": 3}, "at least 4 pixels"),
    ],
)
def test_impossible_small_forms_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        densenet_bc(**options)


def test_impossible_imagenet_forms_are_refused() -> None:
    with pytest.raises(ValueError, match="one of 121, 169, 201, 264"):
        densenet(depth=161)
    with pytest.raises(ValueError, match="at least 8 pixels"):
        densenet(depth=121, input_size=7)
