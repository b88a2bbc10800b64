"""ShuffleNetV1: the shuffle, the stages of table 1, where groups are, rounding of channels, names, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.errors import BadInput  # noqa: E402
from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.shufflenet_v1 import ChannelShuffle, ShuffleUnit, shufflenet_v1  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402

WALK = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}


def test_the_shuffle_deals_the_groups_out_in_turn() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2)(channels).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert ChannelShuffle(3)(channels).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    images = torch.randn(3, 6, 4, 5)
    torch.testing.assert_close(ChannelShuffle(2)(images)[:, 1], images[:, 3])


def test_every_group_sees_all_groups_before_it() -> None:
    unit = ShuffleUnit(36, 36, 3, 1).eval()
    x = torch.randn(1, 36, 5, 5, requires_grad=True)
    branch = unit.expand(unit.depthwise(unit.shuffle(unit.reduce.conv(x))))
    branch[:, :12].sum().backward()
    assert x.grad is not None
    assert all(x.grad[:, 12 * group : 12 * group + 12].abs().sum() > 0 for group in range(3))


@pytest.mark.parametrize("groups", [3, 8, *(pytest.param(groups, marks=pytest.mark.slow) for groups in (1, 2, 4))])
def test_stages_are_those_of_table_1(groups: int) -> None:
    rows = layers_of(make_form("shufflenet_v1", groups=groups))
    shapes = {row.name: row.output_shape for row in rows}
    assert (shapes["stem.conv"], shapes["maxpool"]) == ((24, 112, 112), (24, 56, 56))
    ends = [row.output_shape for row in rows if row.name in ("stage2.3.relu", "stage3.7.relu", "stage4.3.relu")]
    assert ends == [(channels, 28 // 2**stage, 28 // 2**stage) for stage, channels in enumerate(WALK[groups])]


def test_the_first_pointwise_convolution_is_not_grouped() -> None:
    groups = {row.name: row.groups for row in layers_of(make_form("shufflenet_v1")) if row.kind == "conv"}
    whole = [name for name, count in groups.items() if count == 1]
    assert whole == ["stem.conv", "stage2.0.reduce.conv"]
    assert {count for name, count in groups.items() if name not in whole} == {3}


def test_a_unit_with_stride_concatenates_the_pooled_input() -> None:
    unit = ShuffleUnit(6, 12, 3, 2).eval()
    x = torch.rand(2, 6, 8, 8)
    out = unit(x)
    assert out.shape == (2, 12, 4, 4)
    torch.testing.assert_close(out[:, :6], torch.nn.functional.avg_pool2d(x, 3, 2, 1))


def test_channels_that_the_groups_do_not_divide_are_rounded_up() -> None:
    shapes = {row.name: row.output_shape for row in layers_of(make_form("shufflenet_v1", groups=8, width=0.5))}
    assert (shapes["stem.conv"][0], shapes["stage2.3.relu"][0]) == (16, 192)
    shapes = {row.name: row.output_shape for row in layers_of(make_form("shufflenet_v1", groups=4, width=0.5))}
    assert (shapes["stem.conv"][0], shapes["stage2.1.reduce.conv"][0], shapes["stage2.3.relu"][0]) == (12, 36, 136)


@pytest.mark.parametrize("groups", WALK)
@pytest.mark.parametrize(
    "width", [0.05, *(pytest.param(width, marks=pytest.mark.slow) for width in (0.25, 0.3, 0.5, 1.5, 2.0))]
)
def test_every_width_and_number_of_groups_can_be_built(width: float, groups: int) -> None:
    assert totals(layers_of(make_form("shufflenet_v1", width=width, groups=groups))).macs > 0


@pytest.mark.parametrize(("width", "millions"), [(1.5, 292), pytest.param(2.0, 524, marks=pytest.mark.slow)])
def test_wide_forms_cost_what_the_paper_says(width: float, millions: int) -> None:
    assert int(totals(layers_of(make_form("shufflenet_v1", width=width))).macs / 1e6) == millions


def test_small_images_keep_their_resolution_until_stage_2() -> None:
    form = make_form("shufflenet", width=0.5, input_size=32, channels=1, classes=10)
    assert form.title == "shufflenet_v1_0.5_32"
    shapes = {row.name: row.output_shape for row in layers_of(form)}
    assert "maxpool" not in shapes
    assert (shapes["stem.conv"], shapes["stage2.3.relu"]) == ((12, 32, 32), (120, 16, 16))
    assert shapes["stage4.3.relu"] == (480, 4, 4)
    assert totals(layers_of(form)).macs < 15e6
    assert build(form).eval()(torch.randn(3, 1, 32, 32)).shape == (3, 10)


def test_names() -> None:
    assert find("shufflenet_v1_g3") is find("shufflenet") is find("shufflenet_v1")
    assert make_form("shufflenet_v1", width=0.25, groups=8).title == "shufflenet_v1_0.25_224_g8"
    keys = shufflenet_v1(width=0.25).state_dict().keys()
    assert {"stem.conv.weight", "stage2.0.reduce.conv.weight", "stage3.7.expand.bn.weight", "classifier.bias"} <= keys


def test_impossible_forms_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="groups must be one of 1, 2, 3, 4, 8"):
        shufflenet_v1(groups=5)
    with pytest.raises(ValueError, match="at least 1/24"):
        shufflenet_v1(width=0.04)
    with pytest.raises(BadInput, match="1 or 2 or 3 or 4 or 8"):
        make_form("shufflenet_v1", groups=6)
