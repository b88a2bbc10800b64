"""MobileNetV3: tables 1 and 2, h-swish and hard sigmoid, the minimalistic form, rounding, names, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.mobilenet_v3 import Bottleneck, InvertedResidual, mobilenet_v3  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402

SMALL_IMAGE = {"width": 0.35, "input_size": 32, "channels": 1, "classes": 10}


def test_large_is_table_1() -> None:
    depthwise = [row for row in layers_of(make_form("mobilenet_v3_large")) if row.kind == "depthwise"]
    assert [row.output_shape[0] for row in depthwise] == [
        *(16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960)
    ]
    assert [row.kernel[0] for row in depthwise if row.kernel] == [3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5]
    assert [row.output_shape[1] for row in depthwise][::2] == [112, 56, 28, 14, 14, 14, 7, 7]


def test_small_is_table_2() -> None:
    rows = layers_of(make_form("mobilenet_v3_small"))
    depthwise = [row for row in rows if row.kind == "depthwise"]
    assert [row.output_shape[0] for row in depthwise] == [16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576]
    assert [row.output_shape[1] for row in depthwise] == [56, 28, 28, 14, 14, 14, 14, 14, 7, 7, 7]
    squeezed = [row.name.split(".")[1] for row in rows if row.name.endswith("fc1")]
    assert squeezed == ["1", "4", "5", "6", "7", "8", "9", "10", "11"]
    assert [row.output_shape for row in rows if row.kind == "linear"] == [(1024,), (1000,)]


def test_a_block_squeezes_what_the_depthwise_convolution_gives() -> None:
    block = InvertedResidual(8, Bottleneck(5, 32, 8, True, True, 1)).eval()
    x = torch.randn(2, 8, 6, 6)
    expand, depthwise, attention, project = block.block
    hidden = depthwise(expand(x))
    means = hidden.mean((2, 3), keepdim=True)
    factors = torch.clamp(attention.fc2(torch.relu(attention.fc1(means))) / 6 + 0.5, 0, 1)
    torch.testing.assert_close(block(x), x + project(hidden * factors))
    plain = expand[1](expand[0](x))
    torch.testing.assert_close(expand(x), plain * torch.clamp(plain + 3, 0, 6) / 6)
    assert attention.fc1.out_channels == 8


@pytest.mark.slow
@pytest.mark.parametrize("size", [pytest.param("large", marks=pytest.mark.slow), "small"])
def test_minimalistic_has_only_3_by_3_and_relu(size: str) -> None:
    rows = layers_of(make_form(f"mobilenet_v3_{size}", minimalistic=True))
    assert {row.kernel for row in rows if row.kind == "depthwise"} == {(3, 3)}
    assert not {row.kind for row in rows} & {"multiply", "hardswish", "hardsigmoid"}
    full = layers_of(make_form(f"mobilenet_v3_{size}"))
    assert [row.output_shape for row in rows if row.kind == "depthwise"] == [
        row.output_shape for row in full if row.kind == "depthwise"
    ]
    assert make_form(f"mobilenet_v3_{size}", minimalistic=True).title.endswith("_minimalistic")


@pytest.mark.slow
def test_other_widths_follow_the_release() -> None:
    # The counts of timm's mobilenetv3_large_075 and mobilenetv3_small_075, which hold the release's weights.
    assert totals(layers_of(make_form("mobilenet_v3_large", width=0.75))).params == 3_993_528
    assert totals(layers_of(make_form("mobilenet_v3_small", width=0.75))).params == 2_041_872
    rows = layers_of(make_form("mobilenet_v3_large", width=1.5))
    assert [row.output_shape for row in rows if row.kind == "linear"] == [(1920,), (1000,)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [pytest.param("large", marks=pytest.mark.slow), "small"])
def test_small_images_end_at_4_by_4(size: str) -> None:
    form = make_form(f"mobilenet_v3_{size}", **SMALL_IMAGE)
    depthwise = [row.output_shape[1] for row in layers_of(form) if row.kind == "depthwise"]
    assert (depthwise[0], depthwise[-1]) == (32 if size == "large" else 16, 4)
    assert totals(layers_of(form)).params < 1_000_000
    assert build(form).eval()(torch.randn(3, 1, 32, 32)).shape == (3, 10)


def test_names_are_those_of_torchvision() -> None:
    keys = mobilenet_v3(size="small").state_dict().keys()
    assert {"features.0.0.weight", "features.1.block.1.fc1.weight", "features.4.block.2.fc2.bias"} <= keys
    assert {"features.12.1.bias", "classifier.0.weight", "classifier.3.bias"} <= keys
    assert find("mobilenet_v3").name == "mobilenet_v3_small"


def test_dropout_is_before_the_classifier_and_off_in_inference() -> None:
    model = mobilenet_v3(size="small", width=0.1, in_channels=1, input_size=32, dropout=0.5).eval()
    images = torch.randn(2, 1, 32, 32)
    assert model.classifier[2].p == 0.5
    assert torch.equal(model(images), model(images))


def test_impossible_forms_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="large or small"):
        mobilenet_v3(size="medium")
    with pytest.raises(ValueError, match="above 0"):
        mobilenet_v3(size="small", width=0)
