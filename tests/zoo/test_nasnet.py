"""NASNet-A: the two cells, padding that halves any size, the wiring of the forms, what acts in training only."""

from __future__ import annotations

from functools import lru_cache

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from edgecnn.errors import UnknownName, UsageError  # noqa: E402
from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.checkpoints import translate  # noqa: E402
from edgecnn.zoo.families.nasnet import NASNet, nasnet_cifar, nasnet_imagenet  # noqa: E402
from edgecnn.zoo.families.nasnet_cells import HalvingPool, NormalCell, ReductionCell, SameConv2d  # noqa: E402
from edgecnn.zoo.layers import Layer, layers_of, totals  # noqa: E402

SIZES = (1, 2, 5, 8, 13)
COMBINED = ("comb_iter_0_left", "comb_iter_0_right", "comb_iter_1_left", "comb_iter_1_right", "comb_iter_4_left")


@lru_cache
def walk(name: str, **options: float) -> tuple[Layer, ...]:
    """Return the layers of a form, walked once for all tests of this file."""
    return layers_of(make_form(name, **options))


def cell_outputs(rows: tuple[Layer, ...]) -> list[tuple[int, ...]]:
    """Return the shape of what every cell gives, in order."""
    cells = [row for row in rows if row.kind == "concat" and "cell_" in row.name]
    return list({row.name: row.output_shape for row in cells}.values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_strided_convolutions_pad_as_same_does(size: int, kernel: int) -> None:
    torch.manual_seed(0)
    conv = SameConv2d(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, size, size)
    total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    out = conv(x)
    assert out.shape[-2:] == (-(-size // 2),) * 2
    torch.testing.assert_close(out, F.conv2d(padded, conv.weight, stride=2))


@pytest.mark.parametrize("size", SIZES)
def test_strided_pools_see_pixels_of_the_image_only(size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(size, size)
    first = -(size % 2)
    starts = range(first, first + 2 * -(-size // 2), 2)
    windows = [[x[max(top, 0) : top + 3, max(left, 0) : left + 3] for left in starts] for top in starts]
    maxima = torch.tensor([[window.max() for window in row] for row in windows])
    means = torch.tensor([[window.mean() for window in row] for row in windows])
    torch.testing.assert_close(HalvingPool("max")(x[None, None])[0, 0], maxima)
    torch.testing.assert_close(HalvingPool("average")(x[None, None])[0, 0], means)


@pytest.mark.parametrize("size", [1, 6, 7])
def test_the_second_half_of_a_halved_output_is_one_pixel_further(size: int) -> None:
    cell = NormalCell(2, 2, 4, "half", 1e-5).eval()
    image = torch.arange(size * size, dtype=torch.float32).view(1, 1, size, size).expand(1, 2, size, size)
    for name in ("path_1", "path_2"):
        cell.get_submodule(name).conv.weight.data.fill_(0.5)
    x = torch.zeros(1, 2, -(-size // 2), -(-size // 2))
    _, prev = cell.states(x, image)
    beyond = F.pad(image, (0, 1, 0, 1))[0, 0]
    bn = (1 + 1e-5) ** 0.5
    torch.testing.assert_close(prev[0, 0] * bn, image[0, 0, ::2, ::2])
    torch.testing.assert_close(prev[0, 3] * bn, beyond[1::2, 1::2])


def test_a_normal_cell_combines_the_pairs_of_figure_4() -> None:
    torch.manual_seed(0)
    cell = NormalCell(3, 5, 4, "same", 1e-3).eval()
    x, prev = torch.rand(2, 3, 6, 6), torch.rand(2, 5, 6, 6)
    out = cell(x, prev).split(4, 1)
    last, before = cell.states(x, prev)
    torch.testing.assert_close(out[0], before)
    torch.testing.assert_close(out[1], cell.comb_iter_0_left(last.relu()) + cell.comb_iter_0_right(before.relu()))
    torch.testing.assert_close(out[2], cell.comb_iter_1_left(before.relu()) + cell.comb_iter_1_right(before.relu()))
    mean = F.avg_pool2d(last, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(out[3], mean + before)
    torch.testing.assert_close(out[4], 2 * F.avg_pool2d(before, 3, 1, 1, count_include_pad=False))
    torch.testing.assert_close(out[5], cell.comb_iter_4_left(last.relu()) + last)
    kernels = [getattr(cell, name).separable_2.depthwise_conv2d.kernel_size[0] for name in COMBINED]
    assert kernels == [5, 3, 5, 3, 3]


def test_a_reduction_cell_combines_the_pairs_of_figure_4() -> None:
    torch.manual_seed(0)
    cell = ReductionCell(3, 5, 4, "same", 1e-3).eval()
    x, prev = torch.rand(2, 3, 6, 6), torch.rand(2, 5, 6, 6)
    out = cell(x, prev).split(4, 1)
    last, before = cell.states(x, prev)
    first = cell.comb_iter_0_left(last.relu()) + cell.comb_iter_0_right(before.relu())
    maximum = cell.maximum(last)
    torch.testing.assert_close(out[0], maximum + cell.comb_iter_1_right(before.relu()))
    torch.testing.assert_close(out[1], cell.halving_average(last) + cell.comb_iter_2_right(before.relu()))
    torch.testing.assert_close(out[2], F.avg_pool2d(first, 3, 1, 1, count_include_pad=False) + out[0])
    torch.testing.assert_close(out[3], cell.comb_iter_4_left(first.relu()) + maximum)


@pytest.mark.slow
def test_the_small_image_form_is_the_papers() -> None:
    rows = walk("nasnet")
    assert cell_outputs(rows) == [
        *[(192, 32, 32)] * 6,
        (256, 16, 16),
        *[(384, 16, 16)] * 6,
        (512, 8, 8),
        *[(768, 8, 8)] * 6,
    ]
    assert totals(rows).params == 3_328_234  # the paper's 3.3 M


@pytest.mark.slow
def test_the_mobile_form_is_the_releases() -> None:
    rows = walk("nasnet_a_mobile")
    assert cell_outputs(rows) == [
        (44, 56, 56),
        (88, 28, 28),
        *[(264, 28, 28)] * 4,
        (352, 14, 14),
        *[(528, 14, 14)] * 4,
        (704, 7, 7),
        *[(1056, 7, 7)] * 4,
    ]
    # The release's README: 564 M multiply-adds, 5.3 M parameters.
    assert (round(totals(rows).macs / 1e6), totals(rows).params) == (564, 5_289_978)


@pytest.mark.slow
def test_images_under_64_pixels_are_not_halved_in_the_stem() -> None:
    with torch.device("meta"):
        small, large = (build(make_form("nasnet_a_mobile", input_size=size)) for size in (63, 64))
    assert small.conv0.conv.stride == (1, 1)
    assert [name for name in large.steps if name not in small.steps] == ["cell_stem_0", "cell_stem_1"]


def test_width_and_cells_make_the_form_that_is_asked_for() -> None:
    assert make_form("nasnet", width=0.375, cells=1).title == "nasnet_a_cifar_0.375_32_n1"
    assert [shape[0] for shape in cell_outputs(walk("nasnet", width=0.375, cells=1))] == [72, 96, 144, 192, 288]


@pytest.mark.slow
def test_the_large_form_skips_the_reduction_cells_input_and_the_mobile_form_does_not() -> None:
    with torch.device("meta"):
        plain, skipping = (
            nasnet_imagenet(filters=4, cells=1, stem_channels=4, skip_reduction=skip) for skip in (False, True)
        )
    # After the first reduction cell: the output of cell_0, or that of cell_stem_1.
    assert plain.cell_1.path_1.conv.in_channels == 6 * 4
    assert skipping.cell_1.path_1.conv.in_channels == 4 * 2
    wirings = {name: find(name).fixed["skip_reduction"] for name in ("nasnet_a_mobile", "nasnet_a_large")}
    assert wirings == {"nasnet_a_mobile": False, "nasnet_a_large": True}


@pytest.mark.slow
def test_weights_are_named_as_in_timm() -> None:
    with torch.device("meta"):
        keys = set(build(make_form("nasnet_a_large")).state_dict())
    assert {
        "conv0.conv.weight",
        "cell_stem_0.comb_iter_0_right.separable_1.pointwise_conv2d.weight",
        "cell_stem_1.path_2.conv.weight",
        "cell_0.final_path_bn.running_var",
        "cell_17.conv_prev_1x1.bn.weight",
        "reduction_cell_1.comb_iter_4_left.bn_sep_2.bias",
        "last_linear.bias",
    } <= keys
    assert not any(key.startswith("aux") for key in keys)


def test_the_published_mobile_file_numbers_its_cells_with_gaps() -> None:
    (rule,) = find("nasnet_a_mobile").checkpoints
    published = [f"cell_{i}.x" for i in (*range(4), *range(6, 10), *range(12, 16))] + ["reduction_cell_1.x"]
    renamed = list(translate(rule, dict.fromkeys(published, 0)))
    assert renamed == [*(f"cell_{i}.x" for i in range(12)), "reduction_cell_1.x"]


def tiny(**training: float | bool) -> NASNet:
    torch.manual_seed(1)
    return nasnet_cifar(cells=1, width=0.125, input_size=16, **training)


def test_drop_path_rises_with_the_depth_and_over_the_training() -> None:
    model = tiny(drop_path=0.4)
    names = ("cell_0", "reduction_cell_0", "cell_1", "reduction_cell_1", "cell_2")
    assert tuple(model.steps) == names

    def probabilities() -> list[float]:
        return [model.get_submodule(name).drop_path.probability for name in names]

    assert probabilities() == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    model.set_progress(0.5)
    assert probabilities() == pytest.approx([0.04, 0.08, 0.12, 0.16, 0.2])
    model.set_progress(0.0)
    assert probabilities() == [0.0] * 5


@pytest.mark.slow
def test_drop_path_drops_single_branches_and_keeps_the_expected_value() -> None:
    torch.manual_seed(0)
    cell = NormalCell(3, 5, 4, "same", 1e-3).eval()
    x, prev = torch.rand(1, 3, 4, 4), torch.rand(1, 5, 4, 4)
    whole = cell(x, prev)
    cell.drop_path.probability = 0.5
    torch.testing.assert_close(cell(x, prev), whole)
    cell.drop_path.train()
    with torch.inference_mode():
        drawn = torch.cat([cell(x, prev) for _ in range(600)])
    torch.testing.assert_close(drawn.mean(0, keepdim=True), whole, atol=0.15, rtol=0.15)
    # The doubled average of one state: none, one or both of the two.
    double = drawn[:, 16:20].flatten(1).mean(1) / whole[:, 16:20].mean()
    assert sorted({round(value, 3) for value in double.tolist()}) == [0.0, 1.0, 2.0]
    # Identities are not dropped.
    torch.testing.assert_close(drawn[:, :4], whole[:, :4].expand(600, -1, -1, -1))


def test_the_auxiliary_head_is_there_in_training_only() -> None:
    model, plain = tiny(aux_heads=True), tiny()
    assert model.aux_weight == 0.4
    x = torch.rand(3, 3, 16, 16)
    logits, auxiliary = model.train()(x)
    assert logits.shape == auxiliary.shape == (3, 10)
    auxiliary.sum().backward()
    assert model.cell_1.conv_1x1.conv.weight.grad is not None
    assert model.cell_2.conv_1x1.conv.weight.grad is None
    own = {key: value for key, value in model.state_dict().items() if not key.startswith("aux.")}
    plain.load_state_dict(own)
    torch.testing.assert_close(model.eval()(x), plain.eval()(x))


def test_what_cannot_be_built_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="cells must be at least 1"):
        nasnet_cifar(cells=0)
    with pytest.raises(ValueError, match="width must be above 0"):
        nasnet_cifar(width=0)
    with pytest.raises(ValueError, match="filters must be a multiple of 4"):
        nasnet_imagenet(filters=42, cells=4, stem_channels=32, skip_reduction=False)
    with pytest.raises(UsageError, match="at least 5 x 5 pixels in the second stage, not 4 x 4"):
        build(make_form("nasnet", input_size=8, width=0.125, cells=1), training={"aux_heads": True})
    with pytest.raises(UnknownName, match="stochastic_depth"):
        build(make_form("nasnet"), training={"stochastic_depth": 0.1})


@pytest.mark.parametrize("drop_path", [1.0, -0.1])
def test_a_drop_path_that_drops_everything_is_refused(drop_path: float) -> None:
    with pytest.raises(UsageError, match=r"drop_path.* at least 0 and below 1"):
        build(make_form("nasnet", width=0.125, cells=1), training={"drop_path": drop_path})
