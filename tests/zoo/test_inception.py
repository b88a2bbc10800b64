"""Inception-v3, Inception-v4, Inception-ResNet-v2: grids, modules against plain formulas, the auxiliary classifier."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgecnn.errors import BadInput
from edgecnn.zoo import build, make_form
from edgecnn.zoo.families.inception_resnet_v2 import ResidualInception, inception_resnet_v2
from edgecnn.zoo.families.inception_v3 import Mixed, _Step, inception_v3
from edgecnn.zoo.families.inception_v4 import Branches, Conv, ConvPool, halving, inception_v4
from edgecnn.zoo.layers import layers_of

BUILDERS = (inception_v3, inception_v4, inception_resnet_v2)


def shapes(network: str, **options: float) -> dict[str, tuple[int, ...]]:
    return {row.name: row.output_shape for row in layers_of(make_form(network, **options))}


def convolve(conv: nn.Module, x: Tensor, *, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
    """Convolution, fresh batch norm in inference (epsilon 0.001), ReLU."""
    return F.conv2d(x, conv.get_submodule("conv").weight, None, stride, padding).div(1.001**0.5).relu()


def test_inception_v3_has_the_grids_of_table_1() -> None:
    seen = shapes("inception_v3")
    assert seen["Conv2d_1a_3x3.conv"] == (32, 149, 149)
    assert seen["Conv2d_2b_3x3.conv"] == (64, 147, 147)
    assert seen["maxpool1"] == (64, 73, 73)
    assert seen["Conv2d_4a_3x3.conv"] == (192, 71, 71)
    assert seen["maxpool2"] == (192, 35, 35)
    assert [seen[f"Mixed_5{letter}.concat"] for letter in "bcd"] == [(256, 35, 35), (288, 35, 35), (288, 35, 35)]
    assert {seen[f"Mixed_6{letter}.concat"] for letter in "abcde"} == {(768, 17, 17)}
    assert [seen[f"Mixed_7{letter}.concat"] for letter in "abc"] == [(1280, 8, 8), (2048, 8, 8), (2048, 8, 8)]
    assert not any(name.startswith("AuxLogits") for name in seen)


@pytest.mark.slow
def test_inception_v4_has_the_grids_of_figures_3_and_9() -> None:
    seen = shapes("inception_v4")
    outputs = [seen[f"features.{index}.concat"] for index in range(3, 22)]
    stem, modules = outputs[:3], outputs[3:]
    assert stem == [(160, 73, 73), (192, 71, 71), (384, 35, 35)]
    assert modules[:4] == [(384, 35, 35)] * 4
    assert modules[4:12] == [(1024, 17, 17)] * 8
    assert modules[12:] == [(1536, 8, 8)] * 4


@pytest.mark.slow
def test_inception_resnet_v2_has_the_grids_of_the_release() -> None:
    seen = shapes("inception_resnet_v2")
    assert seen["mixed_5b.concat"] == (320, 35, 35)
    assert {seen[f"repeat.{index}.add"] for index in range(10)} == {(320, 35, 35)}
    assert {seen[f"repeat_1.{index}.add"] for index in range(20)} == {(1088, 17, 17)}
    assert {seen[f"repeat_2.{index}.add"] for index in range(9)} == {(2080, 8, 8)}
    assert seen["block8.conv2d"] == (2080, 8, 8)
    assert seen["conv2d_7b.conv"] == (1536, 8, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "modules"),
    [
        ("inception_v3", ("Mixed_5b.concat", "Mixed_6a.concat", "Mixed_7a.concat")),
        pytest.param(
            "inception_v4", ("features.5.concat", "features.10.concat", "features.18.concat"), marks=pytest.mark.slow
        ),
        pytest.param(
            "inception_resnet_v2", ("mixed_5b.concat", "mixed_6a.concat", "mixed_7a.concat"), marks=pytest.mark.slow
        ),
    ],
)
def test_under_96_pixels_only_one_layer_of_the_stem_strides(network: str, modules: tuple[str, ...]) -> None:
    for size, grids in ((95, (48, 23, 11)), (96, (9, 4, 1))):
        seen = shapes(network, input_size=size, width=0.125)
        assert tuple(seen[name][1] for name in modules) == grids


def test_a_mixed_module_is_its_branches_side_by_side() -> None:
    torch.manual_seed(0)
    branches = {
        "branch1x1": (_Step(8),),
        "branch3x3": (_Step(16), _Step(8, (1, 3), beside=(3, 1))),
        "branch_pool": (_Step(8),),
    }
    module = Mixed(4, branches, width=1.0, reduce=False).eval()
    x = torch.rand(2, 4, 5, 5)
    inner = convolve(module.branch3x3_1, x)
    expected = (
        convolve(module.branch1x1, x),
        convolve(module.branch3x3_2a, inner, padding=(0, 1)),
        convolve(module.branch3x3_2b, inner, padding=(1, 0)),
        convolve(module.branch_pool, F.avg_pool2d(x, 3, 1, 1)),
    )
    assert module.out_channels == 32
    torch.testing.assert_close(module(x), torch.cat(expected, 1))


def test_a_reduction_strides_in_the_last_convolution_of_a_branch() -> None:
    torch.manual_seed(0)
    module = Mixed(
        4, {"branch3x3": (_Step(8, 3),), "branch3x3dbl": (_Step(8, 3), _Step(16, 3))}, width=1.0, reduce=True
    )
    v4 = Branches(4, [[halving(8)], [Conv(8, 3), halving(16)]], width=1.0, reduce=True)
    v4.load_state_dict(dict(zip(v4.state_dict(), module.state_dict().values(), strict=True)))
    x = torch.randn(2, 4, 9, 9)
    inner = convolve(module.branch3x3dbl_1, x, padding=1)
    expected = (
        convolve(module.branch3x3, x, stride=2),
        convolve(module.branch3x3dbl_2, inner, stride=2),
        F.max_pool2d(x, 3, 2),
    )
    assert module.out_channels == v4.out_channels == 28
    torch.testing.assert_close(module.eval()(x), torch.cat(expected, 1))
    torch.testing.assert_close(v4.eval()(x), torch.cat(expected, 1))


def test_average_pools_count_the_padding_in_v3_only() -> None:
    ones = torch.ones(1, 1, 4, 4)
    v3 = Mixed(1, {"branch_pool": (_Step(8),)}, width=1.0, reduce=False).average
    v4 = Branches(1, [], width=1.0, pooled=8).get_submodule("branch0.0")
    assert float(v3(ones)[0, 0, 0, 0]) == pytest.approx(4 / 9)
    assert torch.equal(v4(ones), ones)


def test_the_order_beside_a_pool_is_that_of_the_release() -> None:
    x = torch.rand(1, 2, 7, 7)
    first = ConvPool(2, 3, pool_first=True, stride=2, padded=False).eval()
    last = ConvPool(2, 3, pool_first=False, stride=2, padded=False).eval()
    pooled = F.max_pool2d(x, 3, 2)
    assert torch.equal(first(x)[:, :2], pooled)
    assert torch.equal(last(x)[:, 3:], pooled)
    torch.testing.assert_close(last(x)[:, :3], convolve(last.conv, x, stride=2))


@pytest.mark.parametrize("relu", [True, False])
def test_a_residual_is_scaled_before_it_is_added(relu: bool) -> None:
    torch.manual_seed(0)
    block = ResidualInception(6, [[Conv(8)], [Conv(8), Conv(16, 3)]], width=1.0, scale=0.17, relu=relu).eval()
    nn.init.normal_(block.conv2d.bias)
    x = torch.randn(2, 6, 5, 5)
    branch1 = block.get_submodule("branch1")
    inside = torch.cat([convolve(block.branch0, x), convolve(branch1[1], convolve(branch1[0], x), padding=1)], 1)
    expected = x + 0.17 * F.conv2d(inside, block.conv2d.weight, block.conv2d.bias)
    torch.testing.assert_close(block(x), expected.relu() if relu else expected)
    assert bool((expected < 0).any())


def test_the_scales_are_those_of_the_release() -> None:
    with torch.device("meta"):
        model = inception_resnet_v2()
    repeats = (model.repeat, model.repeat_1, model.repeat_2)
    assert [{block.scale for block in repeat} for repeat in repeats] == [{0.17}, {0.1}, {0.2}]
    assert model.block8.scale == 1.0
    assert isinstance(model.block8.relu, nn.Identity)


@pytest.mark.slow
def test_the_auxiliary_classifier_has_the_size_that_torchvision_counts() -> None:
    with torch.device("meta"):
        plain, helped = inception_v3(), inception_v3(aux_heads=True)
        logits, auxiliary = helped.train()(torch.empty(2, 3, 299, 299))
        grid = helped.AuxLogits.conv1(helped.AuxLogits.conv0(torch.empty(2, 768, 5, 5)))
    assert sum(p.numel() for p in plain.parameters()) == 23_834_568
    assert sum(p.numel() for p in helped.parameters()) == 27_161_264
    assert logits.shape == auxiliary.shape == (2, 1000)
    assert grid.shape == (2, 768, 1, 1)
    assert helped.aux_weight == 0.4
    added = [name for name in helped.state_dict() if name not in plain.state_dict()]
    assert [name for name in helped.state_dict() if name not in added] == list(plain.state_dict())
    assert {name.partition(".")[0] for name in added} == {"AuxLogits"}


@pytest.mark.slow
def test_the_auxiliary_classifier_runs_in_training_only() -> None:
    torch.manual_seed(0)
    form = make_form("inception_v3", input_size=32, width=0.0625, channels=1, classes=5)
    model = build(form, training={"aux_heads": True, "dropout": 0.0})
    runs: list[int] = []
    model.get_submodule("AuxLogits").register_forward_hook(lambda *args: runs.append(1))
    x = torch.randn(2, 1, 32, 32)
    logits, auxiliary = model.train()(x)
    assert logits.shape == auxiliary.shape == (2, 5)
    assert len(runs) == 1
    auxiliary.sum().backward()
    assert model.get_parameter("Mixed_6e.branch1x1.conv.weight").grad is not None
    assert model.get_parameter("Mixed_7a.branch3x3_1.conv.weight").grad is None
    plain = build(form).eval()
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    with torch.inference_mode():
        assert torch.equal(model.eval()(x), plain(x))
    assert len(runs) == 1


@pytest.mark.parametrize(
    "builder", [inception_v3, *(pytest.param(builder, marks=pytest.mark.slow) for builder in BUILDERS[1:])]
)
def test_dropout_does_not_change_the_names(builder: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        none, half = (builder(width=0.0625, dropout=share) for share in (0.0, 0.5))
    assert list(none.state_dict()) == list(half.state_dict())
    head = half.get_submodule("dropout")
    assert isinstance(head, nn.Dropout)
    assert head.p == 0.5


@pytest.mark.parametrize("builder", BUILDERS)
def test_forms_that_cannot_be_are_refused(builder: Callable[..., nn.Module]) -> None:
    with pytest.raises(ValueError, match="at least 13 x 13 pixels"):
        builder(input_size=12)
    with pytest.raises(ValueError, match=r"width must be at least 0\.03125"):
        builder(width=0.01)
    with pytest.raises(BadInput, match="at least 13 pixels"):
        make_form(builder.__name__, input_size=12)


@pytest.mark.slow
def test_weights_are_named_as_in_torchvision_and_timm() -> None:
    with torch.device("meta"):
        v3, v4, residual = (builder().state_dict() for builder in BUILDERS)
    assert v3["Mixed_5b.branch5x5_2.conv.weight"].shape == (64, 48, 5, 5)
    assert v3["Mixed_6c.branch7x7dbl_2.conv.weight"].shape == (160, 160, 7, 1)
    assert v3["Mixed_7b.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert v3["Mixed_6a.branch3x3.bn.running_mean"].shape == (384,)
    assert v4["features.3.conv.conv.weight"].shape == (96, 64, 3, 3)
    assert v4["features.6.branch3.1.conv.weight"].shape == (96, 384, 1, 1)
    assert v4["features.11.branch2.4.conv.weight"].shape == (256, 224, 1, 7)
    assert v4["features.21.branch2_3a.conv.weight"].shape == (256, 512, 1, 3)
    assert v4["last_linear.weight"].shape == (1000, 1536)
    assert residual["repeat.9.branch2.2.conv.weight"].shape == (64, 48, 3, 3)
    assert residual["repeat_1.19.conv2d.bias"].shape == (1088,)
    assert residual["block8.branch1.1.conv.weight"].shape == (224, 192, 1, 3)
    assert residual["classif.weight"].shape == (1000, 1536)


@pytest.mark.slow
def test_batch_norm_has_the_epsilon_of_the_release() -> None:
    with torch.device("meta"):
        models = [builder(width=0.0625, input_size=32) for builder in BUILDERS]
    epsilons = {module.eps for model in models for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    assert epsilons == {0.001}
