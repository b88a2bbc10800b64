"""VGG: the columns of table 1, the heads at small and large inputs, local response norm, names of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.zoo import make_form
from edgecnn.zoo.families.vgg import AveragePoolTo, vgg
from edgecnn.zoo.layers import layers_of, totals


@pytest.mark.parametrize(
    ("config", "weighted", "params"),
    [
        ("A", 11, 132_863_336),
        ("B", 13, 133_047_848),
        ("C", 16, 133_638_952),
        ("D", 16, 138_357_544),
        ("E", 19, 143_667_240),
    ],
)
def test_a_column_of_table_1(config: str, weighted: int, params: int) -> None:
    with torch.device("meta"):
        model = vgg(config=config)
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == weighted
    assert sum(tensor.numel() for tensor in model.parameters()) == params
    pointwise = [layer for layer in layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)]
    assert [layer.out_channels for layer in pointwise] == ([256, 512, 512] if config == "C" else [])


def test_vgg16_is_walked_as_in_the_paper() -> None:
    rows = layers_of(make_form("vgg16"))
    pools = [layer.output_shape for layer in rows if layer.kind == "max pool"]
    assert pools == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    heads = [(layer.params, layer.output_shape) for layer in rows if layer.kind == "linear"]
    assert heads == [(102_764_544, (4096,)), (16_781_312, (4096,)), (4_097_000, (1000,))]
    assert not any(layer.kind == "average pool" for layer in rows)


@pytest.mark.parametrize("name", ["vgg11_bn", "vgg13_bn", "vgg16_c_bn", "vgg16_bn", "vgg19_bn"])
def test_batch_norm_adds_two_values_per_channel_and_no_multiplication(name: str) -> None:
    rows, plain = layers_of(make_form(name)), layers_of(make_form(name.removesuffix("_bn")))
    normed = [layer.output_shape[0] for layer in rows if layer.kind == "batch norm"]
    assert normed == [layer.output_shape[0] for layer in rows if layer.kind == "conv"]
    assert totals(rows).params - totals(plain).params == 2 * sum(normed)
    assert totals(rows).macs == totals(plain).macs


def test_the_small_image_form_reads_one_position_with_a_head_as_wide_as_the_last_group() -> None:
    rows = layers_of(make_form("vgg11", width=0.25, input_size=32, classes=10, channels=1))
    assert [layer.output_shape for layer in rows if layer.kind == "max pool"][-1] == (128, 1, 1)
    assert [(layer.params, layer.output_shape) for layer in rows if layer.kind == "linear"] == [
        (128 * 128 + 128, (128,)),
        (128 * 128 + 128, (128,)),
        (128 * 10 + 10, (10,)),
    ]
    assert (totals(rows).params, totals(rows).macs) == (611_146, 9_618_688)


@pytest.mark.parametrize("input_size", [64, 96, 224, 256])
def test_from_64_pixels_on_the_weights_are_those_of_224(input_size: int) -> None:
    with torch.device("meta"):
        ours = vgg(config="A", width=0.125, input_size=input_size)
        plain = vgg(config="A", width=0.125)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    assert ours(torch.empty(1, 3, input_size, input_size, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("side", [1, 2, 3, 8, 14])
def test_the_products_of_an_exported_pooling_give_its_means(side: int) -> None:
    torch.manual_seed(0)
    pool = AveragePoolTo(7, side)
    x = torch.rand(2, 3, side, side)
    shares = pool.get_buffer("shares")
    assert torch.allclose(shares.T @ (x @ shares), nn.functional.adaptive_avg_pool2d(x, 7), atol=1e-6)
    assert torch.equal(pool(x), nn.functional.adaptive_avg_pool2d(x, 7))
    assert not pool.state_dict()


def test_local_response_norm_follows_the_first_convolution_only() -> None:
    torch.manual_seed(0)
    model = vgg(config="A", norm="lrn", width=0.125, input_size=32, classes=3).eval()
    names = [type(layer).__name__ for layer in model.features]
    assert names[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert names.count("LocalResponseNorm") == 1
    # Krizhevsky et al. 2012: k = 2, n = 5, alpha = 1e-4, beta = 0.75.
    x = 100 * torch.rand(1, 8, 2, 2)
    expected = torch.empty_like(x)
    for channel in range(8):
        near = x[:, max(0, channel - 2) : channel + 3].square().sum(1)
        expected[:, channel] = x[:, channel] / (2 + 1e-4 * near) ** 0.75
    assert torch.allclose(model.features[2](x), expected, rtol=1e-5)


def test_weights_are_named_as_in_torchvision() -> None:
    with torch.device("meta"):
        plain, normed = vgg(config="D"), vgg(config="D", norm="bn")
    keys = list(plain.state_dict())
    assert keys[:4] == ["features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias"]
    assert keys[-8:-6] == ["features.28.weight", "features.28.bias"]
    assert [key for key in keys if key.startswith("classifier") and key.endswith("weight")] == [
        "classifier.0.weight",
        "classifier.3.weight",
        "classifier.6.weight",
    ]
    assert {"features.1.running_mean", "features.40.weight", "features.41.running_var"} <= set(normed.state_dict())


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = vgg(config="A", width=0.125, input_size=32, classes=4, dropout=0.5)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model.train()(x), model(x))
        assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"config": "F"}, "config must be one of A, B, C, D, E"),
        ({"config": "A", "norm": "group"}, 'norm must be "none", "lrn" or "bn"'),
        ({"config": "A", "width": 0.1}, "width must be at least 0.125"),
        ({"config": "A", "input_size": 31}, "at least 32 pixels"),
    ],
)
def test_impossible_forms_are_refused_with_what_is_allowed(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        vgg(**options)  # type: ignore[arg-type]
