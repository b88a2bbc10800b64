"""ResNeXt: the grouped form is the sum of branches, widths by the paper's C x d, names and errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.residual import Bottleneck  # noqa: E402
from edgecnn.zoo.families.resnext import resnext, resnext_small  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def test_groups_are_branches_that_are_summed() -> None:
    """The paper's figure 3: form (c), the block, equals form (a), branches of their own."""
    block = Bottleneck(64, 16, 1, cardinality=4, group_width=8).eval()
    x = torch.randn(2, 64, 5, 5)
    width = 16 * 8 // 64
    assert block.conv2.weight.shape == (4 * width, width, 3, 3)
    total = torch.zeros(2, 64, 5, 5)
    for branch in range(4):
        part = slice(branch * width, (branch + 1) * width)

        def norm(layer: torch.nn.BatchNorm2d, values: torch.Tensor, part: slice = part) -> torch.Tensor:
            return F.batch_norm(
                values, layer.running_mean[part], layer.running_var[part], layer.weight[part], layer.bias[part]
            )

        inner = torch.relu(norm(block.bn1, F.conv2d(x, block.conv1.weight[part])))
        inner = torch.relu(norm(block.bn2, F.conv2d(inner, block.conv2.weight[part], padding=1)))
        total += F.conv2d(inner, block.conv3.weight[:, part])
    torch.testing.assert_close(block(x), torch.relu(block.bn3(total) + x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "cardinality", "params", "inner"),
    [
        ("resnext50_32x4d", 32, 25_028_904, (128, 256, 512, 1024)),
        pytest.param("resnext101_32x4d", 32, 44_177_704, (128, 256, 512, 1024), marks=pytest.mark.slow),
        pytest.param("resnext101_32x8d", 32, 88_791_336, (256, 512, 1024, 2048), marks=pytest.mark.slow),
        pytest.param("resnext101_64x4d", 64, 83_455_272, (256, 512, 1024, 2048), marks=pytest.mark.slow),
    ],
)
def test_imagenet_forms(network: str, cardinality: int, params: int, inner: tuple[int, ...]) -> None:
    rows = {row.name: row for row in layers_of(make_form(network))}
    assert totals(tuple(rows.values())).params == params
    assert tuple(rows[f"layer{stage}.0.conv2"].output_shape[0] for stage in (1, 2, 3, 4)) == inner
    assert {rows[f"layer{stage}.0.conv2"].groups for stage in (1, 2, 3, 4)} == {cardinality}


@pytest.mark.parametrize(
    ("options", "title", "millions"),
    [
        # Xie et al. 2016, table 7.
        ({}, "resnext29", 34.4),
        ({"cardinality": 16}, "resnext29_16x", 68.1),
        ({"cardinality": 32, "group_width": 4}, "resnext29_32x_4d", 4.8),
    ],
)
def test_small_forms_have_the_parameters_of_the_papers_table(
    options: dict[str, int], title: str, millions: float
) -> None:
    form = make_form("resnext29", **options)
    rows = layers_of(form)
    assert form.title == title
    assert totals(rows).params / 1e6 == pytest.approx(millions, abs=0.06)
    assert sum(row.kind in ("conv", "linear") and "downsample" not in row.name for row in rows) == 29
    assert find("resnext29_8x64d").name == "resnext29"


def test_names_are_those_of_resnet() -> None:
    with torch.device("meta"):
        grouped, plain = (build(make_form(name)).state_dict() for name in ("resnext50_32x4d", "resnet50"))
    assert list(grouped) == list(plain)
    assert grouped["layer4.2.conv2.weight"].shape == (1024, 32, 3, 3)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="50, 101, 152"):
        resnext(depth=29)
    with pytest.raises(ValueError, match="9n \\+ 2: 11, 20, 29"):
        resnext_small(depth=28)
    with pytest.raises(ValueError, match="must be at least 1"):
        resnext(depth=50, cardinality=0)
    with pytest.raises(ValueError, match="must be at least 1"):
        resnext_small(depth=29, group_width=0)
