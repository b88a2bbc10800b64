"""ResNet: blocks, stages and names as in the paper and in torchvision, stochastic depth in training only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edgecnn.errors import UnknownName, UsageError  # noqa: E402
from edgecnn.zoo import build, make_form  # noqa: E402
from edgecnn.zoo.families.blocks import DropPath  # noqa: E402
from edgecnn.zoo.families.residual import BasicBlock, Bottleneck, PadShortcut, small_depths  # noqa: E402
from edgecnn.zoo.families.resnet import resnet, resnet_small  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


def randomised(block: nn.Module) -> nn.Module:
    """Return the block with batch-norm values that are not those of a fresh one, in inference form."""
    with torch.no_grad():
        for tensor in (*block.parameters(), *block.buffers()):
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    return block.eval()


def drops(model: nn.Module) -> Iterator[float]:
    return (layer.probability for layer in model.modules() if isinstance(layer, DropPath))


# Table 1 of the paper.
@pytest.mark.parametrize(
    ("depth", "blocks", "channels"),
    [
        (18, (2, 2, 2, 2), 64),
        pytest.param(34, (3, 4, 6, 3), 64, marks=pytest.mark.slow),
        (50, (3, 4, 6, 3), 256),
        pytest.param(152, (3, 8, 36, 3), 256, marks=pytest.mark.slow),
    ],
)
def test_the_stages_are_those_of_the_papers_table(depth: int, blocks: tuple[int, ...], channels: int) -> None:
    rows = layers_of(make_form(f"resnet{depth}"))
    convs = [row for row in rows if row.kind == "conv" and "downsample" not in row.name]
    assert len(convs) + 1 == depth
    assert (convs[0].output_shape, convs[0].kernel, convs[0].stride) == ((64, 112, 112), (7, 7), (2, 2))
    last = "conv3" if depth >= 50 else "conv2"
    for stage, count in enumerate(blocks):
        outputs = [row.output_shape for row in convs if row.name.startswith(f"layer{stage + 1}.") and last in row.name]
        assert outputs == [(channels * 2**stage, 56 // 2**stage, 56 // 2**stage)] * count


def test_small_images_keep_their_size_in_the_stem() -> None:
    rows = {row.name: row for row in layers_of(make_form("resnet18", input_size=32))}
    assert (rows["conv1"].kernel, rows["conv1"].output_shape) == ((3, 3), (64, 32, 32))
    assert not [row for row in rows.values() if row.kind == "max pool"]
    assert rows["layer4.1.conv2"].output_shape == (512, 4, 4)


def test_a_basic_block_is_the_papers_formula() -> None:
    block = BasicBlock(4, 8, 2)
    randomised(block)
    x = torch.randn(2, 4, 7, 7)
    residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), torch.relu(residual + block.downsample(x)))
    assert block(x).shape == (2, 8, 4, 4)
    assert [type(layer).__name__ for layer in block.downsample] == ["Conv2d", "BatchNorm2d"]


@pytest.mark.parametrize(("stride_in", "strides"), [("1x1", (2, 1)), ("3x3", (1, 2))])
def test_a_bottleneck_strides_where_it_is_told(stride_in: str, strides: tuple[int, int]) -> None:
    block = Bottleneck(64, 32, 2, stride_in=stride_in)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == strides
    randomised(block)
    x = torch.randn(1, 64, 9, 9)
    inner = torch.relu(block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))))))
    torch.testing.assert_close(block(x), torch.relu(block.bn3(block.conv3(inner)) + block.downsample(x)))


def test_an_unchanged_shape_has_no_shortcut_weights() -> None:
    assert not list(BasicBlock(8, 8, 1).downsample.parameters())
    assert list(BasicBlock(8, 8, 2).downsample.parameters())


def test_option_a_subsamples_and_adds_empty_channels() -> None:
    x = torch.randn(1, 2, 5, 5)
    out = PadShortcut(2, 3)(x)
    assert out.shape == (1, 5, 3, 3)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert not out[:, 2:].any()


@pytest.mark.slow
def test_projections_cost_what_the_paper_says() -> None:
    plain, projected = (
        totals(layers_of(make_form("resnet110", shortcut=shortcut))) for shortcut in ("padding", "projection")
    )
    assert projected.params - plain.params == 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert make_form("resnet110", shortcut="projection").title == "resnet110_projection"


def test_names_are_torchvisions() -> None:
    keys = build(make_form("resnet50", input_size=64)).state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias", "fc.bias"} <= keys
    assert len(keys) == 320
    assert not [key for key in keys if ".se." in key or "drop" in key]


def test_stochastic_depth_rises_linearly_to_its_last_block() -> None:
    model = resnet_small(depth=20, stochastic_depth=0.5)
    assert list(drops(model)) == pytest.approx([0.5 * number / 9 for number in range(1, 10)])


def test_stochastic_depth_leaves_inference_and_names_alone() -> None:
    form = make_form("resnet20", channels=1)
    plain, dropping = build(form), build(form, training={"stochastic_depth": 0.5})
    assert list(drops(plain)) == []
    assert list(dropping.state_dict()) == list(plain.state_dict())
    dropping.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain.eval()(x), dropping.eval()(x))
        assert not torch.equal(dropping.train()(x), dropping(x))


def test_a_dropped_block_is_its_shortcut_and_the_mean_is_the_whole() -> None:
    torch.manual_seed(0)
    block = BasicBlock(4, 4, 1, drop_path=0.5)
    branch = torch.rand(4, 3, 3)
    block.branch = lambda x: branch.expand(x.shape)
    x = torch.rand(1, 4, 3, 3).expand(2000, -1, -1, -1)
    out: Tensor = block.train()(x)
    skipped = (out == x).flatten(1).all(1)
    torch.testing.assert_close(out[~skipped], (x + 2 * branch)[~skipped])
    assert 0.45 < skipped.float().mean() < 0.55
    torch.testing.assert_close(block.eval()(x), x + branch)


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_a_probability_out_of_range_is_refused(probability: float) -> None:
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        build(make_form("resnet20"), training={"stochastic_depth": probability})


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="18, 34, 50, 101, 152"):
        resnet(depth=20)
    with pytest.raises(ValueError, match="6n \\+ 2: 8, 14, 20"):
        resnet_small(depth=18)
    with pytest.raises(ValueError, match="6n \\+ 2"):
        small_depths(2)
    with pytest.raises(ValueError, match="padding or projection"):
        resnet_small(depth=20, shortcut="none")
    with pytest.raises(ValueError, match="3x3"):
        resnet(depth=50, stride_in="5x5")
    with pytest.raises(UnknownName, match="drop_path"):
        build(make_form("resnet20"), training={"drop_path": 0.1})
