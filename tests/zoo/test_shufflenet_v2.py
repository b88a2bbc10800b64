"""ShuffleNetV2: the split, the stages of table 5, names of torchvision, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.shufflenet_v2 import SplitUnit, shufflenet_v2  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def test_half_of_the_channels_passes_untouched_and_is_shuffled_in() -> None:
    unit = SplitUnit(8, 8, 1).eval()
    x = torch.randn(2, 8, 5, 5)
    out = unit(x)
    torch.testing.assert_close(out[:, 0::2], x[:, :4])
    torch.testing.assert_close(out[:, 1::2], unit.branch2(x[:, 4:]))


def test_a_unit_with_stride_sends_all_channels_through_both_branches() -> None:
    unit = SplitUnit(6, 10, 2).eval()
    x = torch.randn(2, 6, 8, 8)
    out = unit(x)
    assert out.shape == (2, 10, 4, 4)
    torch.testing.assert_close(out[:, 0::2], unit.branch1(x))
    torch.testing.assert_close(out[:, 1::2], unit.branch2(x))


@pytest.mark.parametrize(
    ("size", "channels"),
    [("x0_5", (48, 96, 192, 1024)), ("x1_0", (116, 232, 464, 1024)), ("x2_0", (244, 488, 976, 2048))],
)
def test_stages_are_those_of_table_5(size: str, channels: tuple[int, ...]) -> None:
    rows = layers_of(make_form(f"shufflenet_v2_{size}"))
    shapes = {row.name: row.output_shape for row in rows}
    units = [shapes[f"stage{stage}.{last}.copy"] for stage, last in ((2, 3), (3, 7), (4, 3))]
    assert [shape[0] * shape[1] for shape in units] == list(channels[:3])
    assert [shape[-1] for shape in units] == [28, 14, 7]
    assert shapes["conv5.0"] == (channels[3], 7, 7)
    assert all(row.groups == 1 for row in rows if row.kind == "conv")


@pytest.mark.slow
def test_small_images_keep_their_resolution_until_stage_2() -> None:
    form = make_form("shufflenet_v2_x0_5", input_size=32, channels=1, classes=10)
    shapes = {row.name: row.output_shape for row in layers_of(form)}
    assert (shapes["conv1.0"], shapes["conv5.0"]) == ((24, 32, 32), (1024, 4, 4))
    assert totals(layers_of(form)).params < 1_000_000
    assert build(form).eval()(torch.randn(3, 1, 32, 32)).shape == (3, 10)


def test_names_are_those_of_torchvision() -> None:
    keys = shufflenet_v2(width=0.5).state_dict().keys()
    assert {"conv1.0.weight", "stage2.0.branch1.0.weight", "stage4.3.branch2.6.bias", "conv5.1.weight"} <= keys
    assert {"fc.weight", "fc.bias"} <= keys
    assert not any(key.startswith("stage2.1.branch1") for key in keys)
    assert find("shufflenet_v2").name == "shufflenet_v2_x1_0"


def test_an_unknown_width_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"0\.5, 1, 1\.5, 2"):
        shufflenet_v2(width=0.75)
