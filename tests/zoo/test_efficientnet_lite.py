"""EfficientNet-Lite: compound scaling, the fixed ends, drop-path and dropout in training only, names, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.efficientnet_lite import InvertedResidual, efficientnet_lite  # noqa: E402
from edgecnn.zoo.layers import layers_of  # noqa: E402


def test_the_walk_of_variant_0() -> None:
    rows = [row for row in layers_of(make_form("efficientnet_lite0")) if row.kind == "depthwise"]
    assert [(row.kernel or (0,))[0] for row in rows] == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert [row.output_shape[1] for row in rows] == [112, 56, 56, 28, 28, *[14] * 6, *[7] * 5]
    assert [row.output_shape[0] for row in rows][-4:] == [1152] * 4


@pytest.mark.parametrize(
    ("variant", "blocks", "channels"),
    [
        (1, [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        (4, [1, 4, 4, 6, 6, 8, 1], [24, 32, 56, 112, 160, 272, 448]),
    ],
)
def test_width_and_depth_scale_the_body_but_not_the_ends(variant: int, blocks: list[int], channels: list[int]) -> None:
    with torch.device("meta"):
        model = efficientnet_lite(variant=variant)
    assert [len(stage) for stage in model.blocks] == blocks
    assert [stage[-1](torch.empty(1, *shape, device="meta")).shape[1] for stage, shape in _inputs(model)] == channels
    assert (model.conv_stem.out_channels, model.conv_head.out_channels) == (32, 1280)


def _inputs(model: torch.nn.Module) -> list[tuple[torch.nn.Module, tuple[int, int, int]]]:
    """Return each stage with the shape that its last block takes."""
    entries = []
    for stage in model.blocks:
        last = stage[-1]
        first = last.conv_pw if isinstance(last, InvertedResidual) else last.conv_dw
        entries.append((stage, (first.in_channels, 8, 8)))
    return entries


def test_a_block_is_linear_at_its_end() -> None:
    block = InvertedResidual(4, 4, 5, 1, 6, 0.0).eval()
    x = torch.randn(2, 4, 6, 6)
    hidden = block.bn1(block.conv_pw(x)).clamp(0, 6)
    hidden = block.bn2(block.conv_dw(hidden)).clamp(0, 6)
    torch.testing.assert_close(block(x), x + block.bn3(block.conv_pwl(hidden)))


def test_drop_path_rises_and_keeps_the_expected_value() -> None:
    model = efficientnet_lite(variant=0, width=0.1, in_channels=1, classes=2, input_size=32, drop_path=0.2)
    rates = [block.drop_path.probability for stage in list(model.blocks)[1:] for block in stage]
    assert rates == pytest.approx([0.2 * index / 16 for index in range(1, 16)])
    branch = model.blocks[5][3].drop_path
    kept = branch.train()(torch.ones(20_000, 1, 1, 1))
    assert kept.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(branch.eval()(kept), kept)


def test_training_options_leave_inference_alone() -> None:
    keywords = {"variant": 0, "width": 0.1, "in_channels": 1, "classes": 2, "input_size": 32}
    plain, dropping = efficientnet_lite(**keywords), efficientnet_lite(**keywords, drop_path=0.5, dropout=0.9)
    dropping.load_state_dict(plain.state_dict())
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(plain.eval()(images), dropping.eval()(images))
    assert (plain.dropout.p, dropping.dropout.p) == (0.2, 0.9)


def test_small_images_end_at_4_by_4() -> None:
    form = make_form("efficientnet_lite0", width=0.25, input_size=32, channels=1, classes=10)
    shapes = {row.name: row.output_shape for row in layers_of(form)}
    assert (shapes["conv_stem"], shapes["conv_head"]) == ((32, 32, 32), (1280, 4, 4))
    assert build(form).eval()(torch.randn(3, 1, 32, 32)).shape == (3, 10)


def test_names_are_those_of_timm() -> None:
    keys = efficientnet_lite(variant=0, width=0.1).state_dict().keys()
    assert {"conv_stem.weight", "bn1.running_mean", "blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.bias"} <= keys
    assert {"blocks.5.3.conv_pwl.weight", "blocks.6.0.bn3.weight", "conv_head.weight", "classifier.bias"} <= keys
    assert find("efficientnet_lite").name == "efficientnet_lite0"


def test_input_sizes_grow_with_the_variant() -> None:
    assert [find(f"efficientnet_lite{variant}").input_size for variant in range(5)] == [224, 240, 260, 280, 300]


def test_impossible_forms_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="0, 1, 2, 3, 4"):
        efficientnet_lite(variant=5)
    with pytest.raises(ValueError, match="above 0"):
        efficientnet_lite(variant=0, width=-1)
