"""ZFNet: the sizes in figure 3 of the paper, the order of its layers, the small-image stem."""

from __future__ import annotations

import pytest
import torch

from edgecnn.zoo import make_form
from edgecnn.zoo.families.zfnet import zfnet
from edgecnn.zoo.layers import layers_of


def shapes(**options: object) -> list[tuple[int, ...]]:
    """Return the outputs of convolutions, poolings and linear layers in their order."""
    layers = layers_of(make_form("zfnet", **options))  # type: ignore[arg-type]
    return [layer.output_shape for layer in layers if layer.kind in ("conv", "max pool", "linear")]


def test_the_maps_are_those_of_the_paper() -> None:
    assert shapes() == [
        (96, 110, 110),
        (96, 55, 55),
        (256, 26, 26),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
        (4096,),
        (4096,),
        (1000,),
    ]


def test_contrast_is_normalised_behind_the_first_two_poolings() -> None:
    with torch.device("meta"):
        names = [name for name, _ in zfnet().features.named_children()]
    assert names[:8] == ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]
    assert sum(name.startswith("norm") for name in names) == 2


def test_small_images_are_not_downsampled_by_convolutions() -> None:
    assert shapes(width=0.125, input_size=32, channels=1, classes=10) == [
        (16, 32, 32),
        (16, 16, 16),
        (32, 16, 16),
        (32, 8, 8),
        (48, 8, 8),
        (48, 8, 8),
        (32, 8, 8),
        (32, 3, 3),
        (512,),
        (512,),
        (10,),
    ]


@pytest.mark.parametrize("size", [9, 63, 64, 65, 97, 225])
def test_the_first_linear_layer_fits_the_last_map(size: int) -> None:
    # The walk runs the network: a layer that does not fit is an error.
    found = shapes(width=0.05, input_size=size)
    assert found[-1] == (1000,)
    assert found[7][1] == found[7][2] >= 1


def test_weights_have_the_names_of_their_layers() -> None:
    with torch.device("meta"):
        names = set(zfnet().state_dict())
    layers = [*(f"features.conv{number}" for number in range(1, 6)), *(f"classifier.fc{n}" for n in (6, 7, 8))]
    assert names == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 9 pixels"):
        zfnet(input_size=8)
    with pytest.raises(ValueError, match="width must be above 0"):
        zfnet(width=-1.0)
