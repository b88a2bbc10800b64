"""Wide ResNet: widths of the stages, dropout between the convolutions, names and errors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgecnn.zoo import build, find, make_form  # noqa: E402
from edgecnn.zoo.families.preact_resnet import PreActBasic  # noqa: E402
from edgecnn.zoo.families.wide_resnet import wide_resnet, wide_resnet_small  # noqa: E402
from edgecnn.zoo.layers import layers_of, totals  # noqa: E402


@pytest.mark.parametrize(
    ("network", "widen", "title", "millions"),
    [
        # Zagoruyko and Komodakis 2016, table 4.
        ("wrn_16", 8, "wrn_16_8", 11.0),
        ("wrn_16", 10, "wrn_16", 17.1),
        ("wrn_28", 10, "wrn_28", 36.5),
        ("wrn_40", 1, "wrn_40_1", 0.6),
        ("wrn_40", 4, "wrn_40_4", 8.9),
    ],
)
def test_small_forms_have_the_parameters_of_the_papers_table(
    network: str, widen: int, title: str, millions: float
) -> None:
    form = make_form(network, widen=widen)
    assert form.title == title
    assert totals(layers_of(form)).params / 1e6 == pytest.approx(millions, abs=0.06)


def test_stages_have_16k_32k_and_64k_channels() -> None:
    rows = {row.name: row for row in layers_of(make_form("wrn_28"))}
    assert find("wrn_28_10").name == "wrn_28"
    assert rows["stem.conv"].output_shape == (16, 32, 32)
    assert [rows[f"layers.layer{stage}.3.conv2"].output_shape for stage in (1, 2, 3)] == [
        (160, 32, 32),
        (320, 16, 16),
        (640, 8, 8),
    ]
    # The depth counts the convolutions of the shortcuts, one a stage, and not the linear layer.
    assert sum(row.kind == "conv" for row in rows.values()) == 28


def test_only_the_inside_of_a_bottleneck_is_wide() -> None:
    wide, plain = ({row.name: row for row in layers_of(make_form(name))} for name in ("wide_resnet50_2", "resnet50"))
    for stage, channels in enumerate((64, 128, 256, 512)):
        name = f"layer{stage + 1}.1.conv2"
        assert (wide[name].output_shape[0], plain[name].output_shape[0]) == (2 * channels, channels)
        assert wide[f"layer{stage + 1}.1.conv3"].output_shape == plain[f"layer{stage + 1}.1.conv3"].output_shape


def test_names_are_those_of_resnet() -> None:
    with torch.device("meta"):
        wide, plain = (build(make_form(name)).state_dict() for name in ("wide_resnet50_2", "resnet50"))
    assert list(wide) == list(plain)
    assert wide["layer1.0.conv2.weight"].shape == (128, 128, 3, 3)


def test_dropout_lies_before_the_second_convolution_and_only_in_training() -> None:
    block = PreActBasic(4, 4, 1, dropout=0.5)
    x = torch.randn(2, 4, 6, 6)
    seen: list[torch.Tensor] = []
    block.conv2.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    block.train()(x)
    block.eval()(x)
    trained, inferred = seen
    assert (trained == 0).float().mean() > (inferred == 0).float().mean() + 0.1

    form = make_form("wrn_16", widen=1, input_size=16)
    plain, dropping = build(form), build(form, training={"dropout": 0.3})
    dropping.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(plain.eval()(image), dropping.eval()(image))
        assert not torch.equal(dropping.train()(image), dropping(image))


def test_a_block_of_width_one_keeps_its_raw_shortcut() -> None:
    first = build(make_form("wrn_16", widen=1)).get_submodule("layers.layer1.0")
    assert isinstance(first, PreActBasic)
    assert not first.shared_activation


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="6n \\+ 4: 10, 16, 22, 28"):
        wide_resnet_small(depth=20)
    with pytest.raises(ValueError, match="widen must be at least 1"):
        wide_resnet_small(depth=16, widen=0)
    with pytest.raises(ValueError, match="50, 101, 152"):
        wide_resnet(depth=34)
