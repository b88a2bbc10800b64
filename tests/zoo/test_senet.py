"""SENet: where the channels are scaled and by what, the authors' stem and stride, names, rules for published files, errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.checkpoints import translate  # noqa: E402
from edgecnn.zoo.families.residual import BasicBlock, Sides  # noqa: E402
from edgecnn.zoo.families.senet import _attention, senet154, seresnet, seresnet_small  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def test_the_residual_is_scaled_before_the_addition() -> None:
    block = BasicBlock(16, 16, 1, sides=Sides(attention=_attention(4))).eval()
    torch.nn.init.normal_(block.se.fc2.bias)
    x = torch.randn(2, 16, 5, 5)
    residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    means = residual.mean((2, 3))
    hidden = torch.relu(means @ block.se.fc1.weight.flatten(1).T + block.se.fc1.bias)
    factors = torch.sigmoid(hidden @ block.se.fc2.weight.flatten(1).T + block.se.fc2.bias)
    assert hidden.shape == (2, 4)
    torch.testing.assert_close(block(x), torch.relu(residual * factors[:, :, None, None] + x))


@pytest.mark.parametrize(
    ("network", "plain"),
    [
        ("seresnet50", "resnet50"),
        pytest.param("seresnext50_32x4d", "resnext50_32x4d", marks=pytest.mark.slow),
    ],
)
def test_the_cost_over_the_plain_network_is_the_papers(network: str, plain: str) -> None:
    squeezed, bare = (totals(layers_of(make_form(name))) for name in (network, plain))
    # Hu et al. 2017, equation 5, with r = 16, and the biases of both layers.
    stages = zip((3, 4, 6, 3), (256, 512, 1024, 2048), strict=True)
    weights, biases = 0, 0
    for blocks, channels in stages:
        weights += blocks * 2 * channels**2 // 16
        biases += blocks * (channels + channels // 16)
    assert squeezed.params - bare.params == weights + biases
    assert squeezed.macs - bare.macs == weights


def test_the_small_form_is_resnet20_with_attention() -> None:
    ours = {row.name: row.output_shape for row in layers_of(make_form("seresnet20")) if row.kind == "conv"}
    plain = {row.name: row.output_shape for row in layers_of(make_form("resnet20")) if row.kind == "conv"}
    assert {name: shape for name, shape in ours.items() if ".se." not in name} == plain
    assert [ours[f"layer{stage}.0.se.fc1"][0] for stage in (1, 2, 3)] == [1, 2, 4]
    assert find("senet").name == "seresnet20"


@pytest.mark.parametrize(
    ("width", "channels"), [(0.125, (4, 8, 16)), (0.5, (8, 16, 32)), (0.75, (12, 24, 48)), (2.0, (32, 64, 128))]
)
def test_width_scales_every_stage(width: float, channels: tuple[int, ...]) -> None:
    form = make_form("seresnet20", width=width)
    rows = {row.name: row.output_shape for row in layers_of(form)}
    assert tuple(rows[f"layer{stage}.2.conv2"][0] for stage in (1, 2, 3)) == channels
    assert form.title == f"seresnet20_{width}_32"


def test_a_large_reduction_leaves_one_channel() -> None:
    rows = {row.name: row.output_shape for row in layers_of(make_form("seresnet20", reduction=64))}
    assert [rows[f"layer{stage}.0.se.fc1"][0] for stage in (1, 2, 3)] == [1, 1, 1]


def test_the_authors_stem_pools_without_padding() -> None:
    x = torch.randn(1, 64, 112, 112)
    with torch.device("meta"):
        pools = [seresnet(depth=50, pool=pool).maxpool for pool in ("padded", "ceil")]
    padded, ceil = (pool(x) for pool in pools)
    assert padded.shape == ceil.shape == (1, 64, 56, 56)
    assert torch.equal(ceil[:, :, 0, 0], x[:, :, :3, :3].amax((2, 3)))
    assert torch.equal(ceil[:, :, -1, -1], x[:, :, 110:, 110:].amax((2, 3)))
    assert torch.equal(padded[:, :, 0, 0], x[:, :, :2, :2].amax((2, 3)))


def test_the_authors_stride_is_an_option() -> None:
    form = make_form("seresnet50", stride_in="1x1", pool="ceil")
    rows = {row.name: row for row in layers_of(form)}
    assert (rows["layer2.0.conv1"].stride, rows["layer2.0.conv2"].stride) == ((2, 2), (1, 1))
    assert form.title == "seresnet50_1x1_ceil"


@pytest.mark.slow
def test_senet154_has_the_modifications_of_the_papers_appendix() -> None:
    rows = {row.name: row for row in layers_of(make_form("senet154"))}
    assert [rows[f"conv1.{index}"].output_shape for index in (0, 3, 6)] == [
        (64, 112, 112),
        (64, 112, 112),
        (128, 112, 112),
    ]
    assert rows["maxpool"].output_shape == (128, 56, 56)
    first = [rows[f"layer1.0.conv{index}"] for index in (1, 2, 3)]
    assert [row.output_shape[0] for row in first] == [128, 256, 256]
    assert first[1].groups == 64
    assert rows["layer1.0.downsample.0"].kernel == (1, 1)
    assert [rows[f"layer{stage}.0.downsample.0"].kernel for stage in (2, 3, 4)] == [(3, 3)] * 3
    assert rows["layer3.35.conv3"].output_shape == (1024, 14, 14)


@pytest.mark.slow
def test_senet154_drops_features_in_training_only() -> None:
    with torch.device("meta"):
        model = senet154()
        plain = senet154(dropout=0.0)
    assert list(model.state_dict()) == list(plain.state_dict())
    features = torch.ones(1, 2048)
    assert 0.1 < (model.dropout.train()(features) == 0).float().mean() < 0.3
    assert torch.equal(model.dropout.eval()(features), features)


def test_stochastic_depth_leaves_inference_alone() -> None:
    plain, dropping = (seresnet_small(depth=8, stochastic_depth=value) for value in (0.0, 0.9))
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), dropping.eval()(x))
        assert not torch.equal(plain.train()(x), dropping.train()(x))


def test_names_are_timms_and_those_of_its_older_models_are_translated() -> None:
    with torch.device("meta"):
        keys = {name: set(build(make_form(name)).state_dict()) for name in ("seresnet50", "senet154")}
    assert {"layer1.0.se.fc1.weight", "layer4.2.se.fc2.bias", "layer1.0.downsample.1.bias"} <= keys["seresnet50"]
    old = ("layer0.conv1.weight", "layer0.bn1.bias", "layer3.5.se_module.fc1.bias", "last_linear.weight")
    for name, stem in (("seresnet50", {"conv1.weight", "bn1.bias"}), ("senet154", {"conv1.0.weight", "conv1.1.bias"})):
        (rule,) = find(name).checkpoints
        translated = set(translate(rule, dict.fromkeys(old)))
        assert translated == {*stem, "layer3.5.se.fc1.bias", "fc.weight"}
        assert translated <= keys[name]
    (rule,) = find("senet154").checkpoints
    assert set(translate(rule, {"layer0.conv3.weight": 0, "layer0.bn3.weight": 0})) == {"conv1.6.weight", "bn1.weight"}


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="50, 101, 152"):
        seresnet(depth=18)
    with pytest.raises(ValueError, match="padded or ceil"):
        seresnet(depth=50, pool="floor")
    with pytest.raises(ValueError, match="3x3"):
        seresnet(depth=50, stride_in="2x2")
    with pytest.raises(ValueError, match="reduction must be at least 1"):
        senet154(reduction=0)
    with pytest.raises(ValueError, match="width must be at least"):
        seresnet_small(depth=20, width=0.1)
    with pytest.raises(ValueError, match="cardinality and group_width"):
        seresnet(depth=50, cardinality=0)
