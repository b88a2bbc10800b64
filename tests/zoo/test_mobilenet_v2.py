"""MobileNetV2: the stages of table 2, linear bottlenecks, rounding, the small-image form, dropout, names, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, make_form  # noqa: E402
from edgecnn.zoo.families.mobilenet_v2 import InvertedResidual, mobilenet_v2  # noqa: E402
from edgecnn.zoo.layers import Layer, layers_of, totals  # noqa: E402

# The last block of each stage.
ENDS = (1, 3, 6, 10, 13, 16, 17)


def stage_ends(rows: tuple[Layer, ...]) -> list[tuple[int, ...]]:
    """Return the output shapes of the stages: the last batch norm of the last block."""
    outputs = {row.name: row.output_shape for row in rows if row.kind == "batch norm"}
    return [outputs[f"features.{block}.conv.{2 if block == 1 else 3}"] for block in ENDS]


def test_stages_are_those_of_table_2() -> None:
    rows = layers_of(make_form("mobilenet_v2"))
    sizes = (112, 56, 28, 14, 14, 7, 7)
    channels = (16, 24, 32, 64, 96, 160, 320)
    assert stage_ends(rows) == [(count, size, size) for count, size in zip(channels, sizes, strict=True)]
    assert sum(row.kind == "add" for row in rows) == 10
    assert [row.output_shape[0] for row in rows if row.kind == "depthwise"][:4] == [32, 96, 144, 144]


def test_the_bottleneck_is_linear_and_joined_by_the_shortcut() -> None:
    block = InvertedResidual(4, 4, 1, 6).eval()
    x = torch.randn(2, 4, 6, 6)
    hidden = block.conv[1](block.conv[0](x))
    assert hidden.shape[1] == 24
    assert 0 <= hidden.min() <= hidden.max() <= 6
    torch.testing.assert_close(block(x), x + block.conv[3](block.conv[2](hidden)))
    assert not InvertedResidual(4, 4, 2, 6).residual
    assert not InvertedResidual(4, 8, 1, 6).residual


@pytest.mark.parametrize(
    ("width", "stem", "stages", "last"),
    [
        (0.35, 16, [8, 8, 16, 24, 32, 56, 112], 1280),
        pytest.param(0.75, 24, [16, 24, 24, 48, 72, 120, 240], 1280, marks=pytest.mark.slow),
        pytest.param(1.4, 48, [24, 32, 48, 88, 136, 224, 448], 1792, marks=pytest.mark.slow),
    ],
)
def test_channels_are_multiples_of_8_and_the_last_grows_only(
    width: float, stem: int, stages: list[int], last: int
) -> None:
    rows = layers_of(make_form("mobilenet_v2", width=width))
    shapes = {row.name: row.output_shape for row in rows}
    assert shapes["features.0.0"][0] == stem
    assert [shape[0] for shape in stage_ends(rows)] == stages
    assert shapes["features.18.0"][0] == last


@pytest.mark.slow
def test_small_images_end_at_4_by_4() -> None:
    form = make_form("mobilenet_v2", width=0.35, input_size=32, channels=1, classes=10)
    rows = layers_of(form)
    assert [shape[1] for shape in stage_ends(rows)] == [32, 16, 8, 8, 8, 4, 4]
    assert totals(rows).macs < 15e6
    assert build(form).eval()(torch.randn(3, 1, 32, 32)).shape == (3, 10)


@pytest.mark.slow
def test_dropout_acts_in_training_only() -> None:
    images = torch.randn(4, 1, 32, 32)
    model = mobilenet_v2(width=0.1, in_channels=1, input_size=32, dropout=0.5).eval()
    assert torch.equal(model(images), model(images))
    features = torch.ones(2000, 1280)
    dropped = model.classifier[0].train()(features)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert set(dropped.unique().tolist()) == {0, 2}


def test_names_are_those_of_torchvision() -> None:
    keys = mobilenet_v2(width=0.35).state_dict().keys()
    assert {"features.0.0.weight", "features.1.conv.0.0.weight", "features.1.conv.2.weight"} <= keys
    assert {"features.17.conv.3.bias", "features.18.1.running_var", "classifier.1.weight"} <= keys


def test_a_width_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        mobilenet_v2(width=0)
