"""Pre-activation ResNet: what is activated when, the stages, names and errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, make_form  # noqa: E402
from edgecnn.zoo.families.preact_resnet import (  # noqa: E402
    PreActBasic,
    PreActBottleneck,
    PreActResNet,
    preact_resnet,
    preact_resnet_small,
)
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def test_nothing_stands_on_the_shortcut_of_an_unchanged_shape() -> None:
    block = PreActBasic(4, 4, 1)
    randomised(block)
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    residual = block.conv2(torch.relu(block.bn2(block.conv1(torch.relu(block.bn1(x))))))
    torch.testing.assert_close(block(x), x + residual)
    assert block(x).min() < 0
    assert torch.equal(x, before)


def test_a_changed_shape_is_projected_from_the_activated_input() -> None:
    block = PreActBottleneck(8, 4, 2)
    randomised(block)
    x = torch.randn(2, 8, 7, 7)
    active = torch.relu(block.bn1(x))
    inner = torch.relu(block.bn3(block.conv2(torch.relu(block.bn2(block.conv1(active))))))
    torch.testing.assert_close(block(x), block.conv3(inner) + block.downsample(active))
    assert block(x).shape == (2, 16, 4, 4)
    assert isinstance(block.downsample, torch.nn.Conv2d)


@pytest.mark.parametrize(("stride_in", "strides"), [("1x1", (2, 1)), ("3x3", (1, 2))])
def test_a_bottleneck_strides_where_it_is_told(stride_in: str, strides: tuple[int, int]) -> None:
    block = PreActBottleneck(64, 16, 2, stride_in=stride_in)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


def test_the_small_form_shares_its_first_activation_and_ends_with_one() -> None:
    model = build(make_form("preact_resnet20", channels=1))
    assert isinstance(model, PreActResNet)
    shared = [block.shared_activation for stage in model.layers for block in stage]
    assert shared == [True, False, False, True, False, False, True, False, False]
    names = [row.name for row in layers_of(make_form("preact_resnet20"))]
    assert names[:3] == ["stem.conv", "layers.layer1.0.bn1", "layers.layer1.0.relu"]
    assert names.index("bn") > names.index("layers.layer3.2.conv2")


@pytest.mark.slow
def test_the_imagenet_form_activates_in_the_stem_too() -> None:
    rows = {row.name: row for row in layers_of(make_form("preact_resnet200"))}
    convs = [row for row in rows.values() if row.kind == "conv" and "downsample" not in row.name]
    assert len(convs) + 1 == 200
    assert rows["stem.pool"].output_shape == (64, 56, 56)
    assert {"stem.bn", "layers.layer2.23.conv3", "layers.layer3.35.conv3"} <= rows.keys()
    assert rows["layers.layer4.2.conv3"].output_shape == (2048, 7, 7)


@pytest.mark.parametrize(
    ("network", "params"),
    [("preact_resnet110", 1_730_522), pytest.param("preact_resnet164", 1_703_258, marks=pytest.mark.slow)],
)
def test_small_forms_have_as_many_layers_as_their_name_says(network: str, params: int) -> None:
    rows = layers_of(make_form(network))
    depth = sum(row.kind in ("conv", "linear") and "downsample" not in row.name for row in rows)
    assert network == f"preact_resnet{depth}"
    assert totals(rows).params == params


def test_small_images_keep_their_size_in_the_stem() -> None:
    rows = {row.name: row for row in layers_of(make_form("preact_resnet18", input_size=32))}
    assert rows["stem.relu"].output_shape == (64, 32, 32)
    assert "stem.pool" not in rows


def test_names_of_the_weights() -> None:
    keys = build(make_form("preact_resnet50", input_size=64)).state_dict().keys()
    assert {"stem.conv.weight", "stem.bn.bias", "layers.layer1.0.downsample.weight", "bn.running_mean"} <= keys
    assert "layers.layer1.0.downsample.bias" not in keys
    assert "layers.layer1.1.downsample.weight" not in keys


def test_stochastic_depth_leaves_inference_alone() -> None:
    plain, dropping = (preact_resnet_small(depth=8, stochastic_depth=value) for value in (0.0, 0.9))
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), dropping.eval()(x))
        assert not torch.equal(plain.train()(x), dropping.train()(x))


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="152, 200"):
        preact_resnet(depth=20)
    with pytest.raises(ValueError, match='"1x1"'):
        preact_resnet(depth=50, stride_in="7x7")
    with pytest.raises(ValueError, match="6n \\+ 2"):
        preact_resnet_small(depth=21)
    with pytest.raises(ValueError, match="9n \\+ 2: 11, 20, 29"):
        preact_resnet_small(depth=26, bottleneck=True)
