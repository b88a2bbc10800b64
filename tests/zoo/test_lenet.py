"""LeNet-5: its two forms share weights and differ in activation and pooling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from edgecnn.zoo import bundled_form, make_form
from edgecnn.zoo.families.lenet import lenet5
from edgecnn.zoo.layers import layers_of, totals

NAMES = [f"{layer}.{kind}" for layer in ("features.c1", "features.c3") for kind in ("weight", "bias")] + [
    f"classifier.{layer}.{kind}" for layer in ("c5", "f6", "output") for kind in ("weight", "bias")
]


@pytest.mark.parametrize("form", ["original", "relu"])
def test_both_forms_have_the_names_of_the_bundled_weights(form: str) -> None:
    assert list(lenet5(form=form).state_dict()) == NAMES


def test_the_plain_form_is_the_original_and_the_bundled_one() -> None:
    plain = make_form("lenet5")
    assert (plain.title, plain.options["form"]) == ("lenet5", "original")
    assert bundled_form("lenet5") == plain
    assert make_form("lenet5", form="relu").title == "lenet5_relu"


def test_the_relu_form_is_relu_and_max_pooling() -> None:
    torch.manual_seed(0)
    model = lenet5(form="relu").eval()
    weights = dict(model.named_parameters())
    image = torch.randn(2, 1, 32, 32)
    x = image
    for layer in ("features.c1", "features.c3"):
        x = F.max_pool2d(torch.relu(F.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])), 2)
    x = x.flatten(1)
    for layer in ("classifier.c5", "classifier.f6"):
        x = torch.relu(F.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
    expected = F.linear(x, weights["classifier.output.weight"], weights["classifier.output.bias"])
    torch.testing.assert_close(model(image), expected)


def test_the_forms_cost_the_same() -> None:
    original, relu = (layers_of(make_form("lenet5", form=form)) for form in ("original", "relu"))
    assert (totals(original).params, totals(original).macs) == (totals(relu).params, totals(relu).macs)
    assert {layer.kind for layer in relu} == {"conv", "relu", "max pool", "linear"}


def test_an_unknown_form_names_the_two() -> None:
    with pytest.raises(ValueError, match=r'"original" .* or "relu"'):
        lenet5(form="tanh")
