"""NiN: maps of the mlpconv blocks, what stands between them, and the head without a linear layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecnn.zoo import find, make_form
from edgecnn.zoo.families.nin import MlpConv, bn_nin, nin, nin_cifar
from edgecnn.zoo.layers import layers_of


def shapes(name: str, **options: object) -> list[tuple[int, ...]]:
    """Return the outputs of convolutions and max poolings in their order."""
    layers = layers_of(make_form(name, **options))  # type: ignore[arg-type]
    return [layer.output_shape for layer in layers if layer.kind in ("conv", "max pool")]


def repeated(*rows: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return (channels, convolutions, size) as shapes; no convolutions are a pooling."""
    return [(channels, size, size) for channels, times, size in rows for _ in range(times or 1)]


def test_the_imagenet_form_walks_from_54_to_6_pixels() -> None:
    expected = repeated((96, 3, 54), (96, 0, 27), (256, 3, 27), (256, 0, 13), (384, 3, 13), (384, 0, 6), (1024, 2, 6))
    assert shapes("nin") == [*expected, (1000, 6, 6)]


def test_the_form_with_batch_norm_walks_from_56_to_7_pixels_and_ends_in_a_linear_layer() -> None:
    expected = repeated((96, 3, 56), (96, 0, 28), (256, 3, 28), (256, 0, 14), (384, 3, 14), (384, 0, 7), (1024, 3, 7))
    assert shapes("bn_nin") == expected
    with torch.device("meta"):
        model = bn_nin()
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 12
    assert {norm.eps for norm in norms} == {1e-3}
    assert model.get_parameter("head.1.weight").shape == (1000, 1024)


def test_the_cifar_form_walks_from_32_to_8_pixels() -> None:
    expected = repeated((192, 1, 32), (160, 1, 32), (96, 1, 32), (96, 0, 16), (192, 3, 16), (192, 0, 8), (192, 2, 8))
    assert shapes("nin_cifar") == [*expected, (10, 8, 8)]


def test_width_narrows_every_layer_but_the_last() -> None:
    found = shapes("nin_cifar", width=0.25, channels=1)
    assert [shape[0] for shape in found] == [48, 40, 24, 24, 48, 48, 48, 48, 48, 48, 10]


def test_a_block_is_a_perceptron_that_slides_over_the_image() -> None:
    torch.manual_seed(0)
    block = MlpConv(2, (5, 4, 3), 3, 1, 0)
    patch = torch.randn(1, 2, 3, 3)
    value = patch.flatten()
    for layer in block:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            value = torch.relu(layer.weight.flatten(1) @ value + layer.bias)
    torch.testing.assert_close(block(patch).flatten(), value)


def test_logits_are_means_of_the_last_maps_and_never_negative() -> None:
    torch.manual_seed(0)
    model = nin_cifar(width=0.1).eval()
    image = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        logits = model(image)
        torch.testing.assert_close(logits, model.features(image).mean((2, 3)))
    assert logits.shape == (3, 10)
    assert logits.min() >= 0


def test_dropout_stands_where_the_paper_has_it_and_acts_in_training_alone() -> None:
    def shares(model: nn.Module) -> list[float]:
        return [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]

    with torch.device("meta"):
        assert shares(nin()) == [0.0, 0.0, 0.5]
        assert shares(nin_cifar()) == [0.5, 0.5]
        assert shares(nin_cifar(dropout=0.1)) == [0.1, 0.1]
    model = nin_cifar(width=0.1).eval()
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(model(image), model(image))


def test_small_images_take_the_stem_of_the_cifar_form() -> None:
    assert [shape[1] for shape in shapes("nin", input_size=32)[::4]] == [32, 16, 8, 4]
    assert [shape[1] for shape in shapes("bn_nin", input_size=32)[::4]] == [32, 16, 8, 4]


def test_the_small_form_stands_for_the_imagenet_form() -> None:
    assert find("nin").small == "nin_cifar"


def test_weights_are_named_by_block_and_by_the_names_of_the_caffe_file() -> None:
    with torch.device("meta"):
        names = list(nin_cifar().state_dict())
    blocks = (f"features.block{block}.{layer}" for block in (1, 2, 3) for layer in ("conv", "cccp1", "cccp2"))
    assert names == [f"{name}.{kind}" for name in blocks for kind in ("weight", "bias")]


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 pixels"):
        nin(input_size=7)
    with pytest.raises(ValueError, match="at least 4 pixels"):
        nin_cifar(input_size=3)
    with pytest.raises(ValueError, match="width must be above 0"):
        nin_cifar(width=0.0)
