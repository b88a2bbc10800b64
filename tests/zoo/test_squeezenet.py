"""SqueezeNet: where the forms pool, the fire module against a plain formula, names of weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from edgecnn.zoo import make_form
from edgecnn.zoo.families.squeezenet import Fire, SqueezeNet, squeezenet1_0, squeezenet1_1
from edgecnn.zoo.layers import layers_of


def test_form_1_0_is_table_1_of_the_paper() -> None:
    # At the paper's 227 pixels (its table prints 224): maps of 111 behind the stem, 55, 27 and 13 behind the poolings.
    rows = layers_of(make_form("squeezenet1_0", input_size=227))
    assert (rows[0].kernel, rows[0].stride, rows[0].output_shape) == ((7, 7), (2, 2), (96, 111, 111))
    walk = [row.output_shape for row in rows if row.kind in ("concat", "max pool")]
    assert walk == [
        (96, 55, 55),
        *[(128, 55, 55)] * 2,
        (256, 55, 55),
        (256, 27, 27),
        (256, 27, 27),
        *[(384, 27, 27)] * 2,
        (512, 27, 27),
        (512, 13, 13),
        (512, 13, 13),
    ]
    # Parameters per fire module, the column before pruning.
    fires = [sum(row.params for row in rows if row.name.startswith(f"features.{index}.")) for index in range(13)]
    assert [fires[index] for index in (3, 4, 5, 7, 8, 9, 10, 12)] == [
        11_920,
        12_432,
        45_344,
        49_440,
        104_880,
        111_024,
        188_992,
        197_184,
    ]


def test_form_1_1_pools_earlier() -> None:
    rows = layers_of(make_form("squeezenet1_1"))
    assert (rows[0].kernel, rows[0].output_shape) == ((3, 3), (64, 111, 111))
    pools = [row.name for row in rows if row.kind == "max pool"]
    assert pools == ["features.2", "features.5", "features.8"]


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_small_images_keep_their_size_in_the_stem(name: str) -> None:
    rows = layers_of(make_form(name, input_size=32, channels=1))
    assert (rows[0].stride, rows[0].output_shape[1:]) == ((1, 1), (32, 32))
    assert [row.output_shape[1] for row in rows if row.kind == "max pool"] == [16, 8, 4]


def test_a_fire_module_is_two_expansions_of_one_squeeze() -> None:
    torch.manual_seed(0)
    fire = Fire(6, 2, 3)
    x = torch.randn(2, 6, 5, 5)
    with torch.no_grad():
        squeezed = F.conv2d(x, fire.squeeze.weight, fire.squeeze.bias).clamp(min=0)
        one = F.conv2d(squeezed, fire.expand1x1.weight, fire.expand1x1.bias).clamp(min=0)
        three = F.conv2d(squeezed, fire.expand3x3.weight, fire.expand3x3.bias, padding=1).clamp(min=0)
        torch.testing.assert_close(fire(x), torch.cat([one, three], dim=1))


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = squeezenet1_1(in_channels=1, classes=10, input_size=32)
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_weights_are_named_as_in_torchvision() -> None:
    with torch.device("meta"):
        keys = set(squeezenet1_0().state_dict())
    assert {"features.0.weight", "features.12.expand3x3.bias", "classifier.1.weight"} <= keys
    assert len(keys) == 52


@pytest.mark.parametrize("builder", [squeezenet1_0, squeezenet1_1])
def test_images_that_are_too_small_are_refused(builder: Callable[..., SqueezeNet]) -> None:
    with pytest.raises(ValueError, match="at least 17 pixels"):
        builder(input_size=16)
