"""The first weight or layer of a torch network that is no number is named."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edgecnn.exporters.finite import layer_not_finite, weight_not_finite  # noqa: E402


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()


def test_weights_and_buffers_are_named() -> None:
    net = network()
    assert weight_not_finite(net) == ""
    net[1].running_mean[1] = float("inf")
    assert weight_not_finite(net) == "infinity in 1.running_mean, 1 of its 2 values"
    net[0].weight.data[1, 0, 0, :] = float("nan")
    assert weight_not_finite(net) == "NaN in 0.weight, 3 of its 18 values"


def test_the_first_layer_that_makes_them_is_named() -> None:
    net, images = network(), torch.ones(1, 1, 5, 5)
    assert layer_not_finite(net, images) == ""
    net[1].running_var.fill_(-1)
    assert weight_not_finite(net) == ""
    assert layer_not_finite(net, images) == "NaN or infinity behind layer 1 (BatchNorm2d)"
    assert not net[1]._forward_hooks
