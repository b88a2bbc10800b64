"""AlexNet: sizes of the paper's layers, groups, normalisation, names, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.errors import UsageError
from edgecnn.zoo import build, make_form
from edgecnn.zoo.families.alexnet import alexnet, alexnet_2012, paper_norm, scaled
from edgecnn.zoo.layers import layers_of, totals


def shapes(name: str, **options: object) -> list[tuple[int, ...]]:
    """Return the outputs of convolutions, poolings and linear layers in their order."""
    layers = layers_of(make_form(name, **options))  # type: ignore[arg-type]
    return [layer.output_shape for layer in layers if layer.kind in ("conv", "max pool", "linear")]


def on_meta(**options: object) -> nn.Module:
    with torch.device("meta"):
        return alexnet(**options)  # type: ignore[arg-type]


def test_the_paper_s_maps_come_out_at_227_pixels() -> None:
    assert shapes("alexnet_grouped") == [
        (96, 55, 55),
        (96, 27, 27),
        (256, 27, 27),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
        (4096,),
        (4096,),
        (1000,),
    ]


def test_the_second_fourth_and_fifth_convolution_see_half_of_the_channels() -> None:
    def groups(name: str) -> list[int | None]:
        return [layer.groups for layer in layers_of(make_form(name)) if layer.kind == "conv"]

    assert groups("alexnet_grouped") == [1, 2, 1, 2, 2]
    assert groups("alexnet_ungrouped") == [1] * 5


def test_only_the_two_tower_network_normalises_behind_the_first_two_convolutions_before_pooling() -> None:
    with torch.device("meta"):
        names = [name for name, _ in alexnet_2012().features.named_children()]
        plain = [name for name, _ in alexnet_2012(groups=1, normalised=False).features.named_children()]
    assert names[:9] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2", "conv3"]
    assert names[9:] == ["relu3", "conv4", "relu4", "conv5", "relu5", "pool5"]
    assert plain == [name for name in names if not name.startswith("norm")]


def test_the_normalisation_is_the_paper_s_formula() -> None:
    values = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0)) * 50
    expected = torch.empty_like(values)
    for channel in range(8):
        near = values[:, max(0, channel - 2) : channel + 3]
        expected[:, channel] = values[:, channel] / (2 + 1e-4 * near.square().sum(1)) ** 0.75
    torch.testing.assert_close(paper_norm()(values), expected)


def test_the_form_of_surveys_is_the_one_without_groups_at_224_pixels() -> None:
    layers = {layer.name: layer for layer in layers_of(make_form("alexnet_ungrouped", input_size=224))}
    assert layers["features.pool5"].output_shape == (256, 5, 5)
    without_last = [layer for name, layer in layers.items() if name != "classifier.fc8"]
    # 46 M parameters and 1 G multiply-adds are what surveys state, without the last layer.
    assert round(totals(without_last).params / 1e6, 1) == 46.7
    assert round(totals(without_last).macs / 1e9, 1) == 1.0


def test_weights_of_the_single_tower_are_named_as_in_torchvision() -> None:
    shape = {name: tuple(tensor.shape) for name, tensor in on_meta().state_dict().items() if name.endswith("weight")}
    assert shape == {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3),
        "features.8.weight": (256, 384, 3, 3),
        "features.10.weight": (256, 256, 3, 3),
        "classifier.1.weight": (4096, 9216),
        "classifier.4.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    }


@pytest.mark.parametrize("size", [223, 254])
def test_published_weights_fit_wherever_the_map_is_6_x_6(size: int) -> None:
    assert tuple(on_meta(input_size=size).get_parameter("classifier.1.weight").shape) == (4096, 9216)


def test_batch_norm_stands_behind_every_layer_but_the_last() -> None:
    plain, normed = totals(layers_of(make_form("alexnet"))), totals(layers_of(make_form("bn_alexnet")))
    assert normed.macs == plain.macs
    assert normed.params - plain.params == 2 * (64 + 192 + 384 + 256 + 256 + 4096 + 4096)
    kinds = [type(layer) for layer in on_meta(batch_norm=True).modules()]
    norms = [index for index, kind in enumerate(kinds) if kind in (nn.BatchNorm2d, nn.BatchNorm1d)]
    assert [kinds[index - 1] for index in norms] == [nn.Conv2d] * 5 + [nn.Linear] * 2


@pytest.mark.parametrize("name", ["alexnet", "alexnet_grouped"])
def test_small_images_keep_their_size_in_the_stem(name: str) -> None:
    assert shapes(name, input_size=32)[:8:7] == [(64 if name == "alexnet" else 96, 32, 32), (256, 3, 3)]
    assert shapes(name, input_size=66)[7] == (256, 1 if name == "alexnet" else 7, 1 if name == "alexnet" else 7)


def test_width_narrows_every_layer() -> None:
    found = shapes("alexnet", width=0.15, input_size=32, channels=1, classes=10)
    assert [shape[0] for shape in found] == [16, 16, 32, 32, 56, 40, 40, 40, 616, 616, 10]
    assert scaled(4096, 1.0) == 4096


def test_dropout_acts_in_training_alone() -> None:
    model = alexnet(width=0.05, input_size=32, in_channels=1, classes=4, dropout=0.75)
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model.train()(image), model(image))
    assert torch.equal(model.eval()(image), model(image))
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.75, 0.75]


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="1, 2, 4, 8, 16 or 32"):
        alexnet_2012(groups=3)
    with pytest.raises(ValueError, match="width must be above 0"):
        alexnet(width=0.0)
    with pytest.raises(ValueError, match="at least 15 pixels"):
        alexnet_2012(input_size=14)
    with pytest.raises(UsageError, match="width"):
        make_form("alexnet", width=0.01)


def test_fresh_weights_keep_the_scale_of_the_activations() -> None:
    torch.manual_seed(0)
    model = build(make_form("alexnet", width=0.15, input_size=32, channels=1, classes=10)).eval()
    with torch.inference_mode():
        logits = model(torch.randn(64, 1, 32, 32))
    assert 0.1 < logits.std().item() < 10
